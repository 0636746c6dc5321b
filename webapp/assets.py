"""The built front end: plain names to the hashed ones that browsers may keep for ever."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

STATIC: Final = Path(__file__).parent / "static"
BUILD: Final = STATIC / "build"


@dataclass(frozen=True)
class Assets:
    """Addresses of the built files. Without a build the plain names stand in and nothing loads."""

    names: dict[str, str] = field(default_factory=dict)

    @property
    def is_built(self) -> bool:
        return bool(self.names)

    def url(self, name: str) -> str:
        return f"/static/build/{self.names.get(name, name)}"


def read_assets(build: Path = BUILD) -> Assets:
    """The manifest that `npm run build` writes; empty when it has not run."""
    try:
        return Assets(json.loads((build / "manifest.json").read_text()))
    except FileNotFoundError:
        return Assets()


class CachedStaticFiles(StaticFiles):
    """Hashed names never change their content; the rest is asked for again each time."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        is_hashed = path.startswith("build/") and "-" in path
        response.headers["cache-control"] = (
            "public, max-age=31536000, immutable" if is_hashed else "no-cache"
        )
        return response
