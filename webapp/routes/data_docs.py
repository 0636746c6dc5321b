"""/data-docs: what dbt says of every table and column, for whoever is logged in.

dbt makes the page, one file of 3 MB with its script and styles inline. It gets a policy of its own:
nothing but that very script may run, nothing may be loaded or sent, and `sandbox` takes our origin
from it, so that it can neither read a page of ours nor act as a user.
"""

import base64
import re
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from core.dbt import docs_file
from webapp.contexts import ErrorPage
from webapp.rendering import render
from webapp.sessions import CurrentViewer, ServicesOf

router = APIRouter()

SCRIPT: Final = re.compile(rb"<script[^>]*>(.*?)</script>", re.DOTALL)


@router.get("/data-docs")
def show_data_docs(request: Request, services: ServicesOf, _viewer: CurrentViewer) -> Response:
    """200 with dbt's page; 404, and what to do, where it was never made."""
    path = docs_file(services.settings.home)
    try:
        made = path.stat().st_mtime_ns
        content, policy = read_docs(path, made)
    except FileNotFoundError:
        return _missing(request)
    headers = {
        "content-security-policy": policy,
        "cache-control": "private, no-cache",
        "etag": f'"{made}"',
    }
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type="text/html", headers=headers)


@lru_cache(maxsize=1)
def read_docs(path: Path, _made: int) -> tuple[bytes, str]:
    """The page and the policy that lets exactly its scripts run; read once per version."""
    content = path.read_bytes()
    digests = (sha256(script).digest() for script in SCRIPT.findall(content))
    scripts = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return content, _policy(scripts)


def _policy(scripts: str) -> str:
    return (
        "sandbox allow-scripts; default-src 'none'; "
        f"script-src {scripts}; "
        "style-src 'unsafe-inline'; img-src data:; font-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _missing(request: Request) -> Response:
    page = ErrorPage(
        title="No documentation yet",
        status=404,
        what="The page about tables and columns is made after each build of the reports, and none "
        "has been made on this machine.",
        next="Make it now with `ecomcrm docs`.",
        has_overview=True,
        request_id=request.scope["state"]["request_id"],
    )
    return render(request, page, status=404)
