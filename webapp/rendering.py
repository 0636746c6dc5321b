"""Templates: one typed context per template (webapp/contexts.py), strict, escaped."""

from functools import cache
from pathlib import Path
from typing import Final

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from webapp.assets import Assets
from webapp.contexts import Template
from webapp.services import services_of

TEMPLATES: Final = Path(__file__).parent / "templates"


@cache
def environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        cache_size=-1,
        auto_reload=False,
    )


def render_text(context: Template, *, assets: Assets, nonce: str) -> str:
    """The template of this context as HTML. `nonce` is the one in the answer's policy."""
    template = environment().get_template(context.template)
    return template.render(page=context, asset=assets.url, nonce=nonce)


def render(
    request: Request,
    context: Template,
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> HTMLResponse:
    """An answer nobody may keep: pages show people, or tokens."""
    text = render_text(
        context, assets=services_of(request).assets, nonce=request.scope["state"]["nonce"]
    )
    return HTMLResponse(text, status, {"cache-control": "no-store"} | (headers or {}))
