"""/healthz: this process answers. /readyz: it can do its work."""

from typing import Final

from fastapi import APIRouter
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from starlette.responses import JSONResponse, PlainTextResponse, Response

from core.migrate import current_revision, head_revision
from webapp.services import Services
from webapp.sessions import ServicesOf

router = APIRouter()

OK: Final = "ok"


@router.api_route("/healthz", methods=["GET", "HEAD"])
def healthz() -> Response:
    return PlainTextResponse("ok")


@router.api_route("/readyz", methods=["GET", "HEAD"])
def readyz(services: ServicesOf) -> Response:
    """200 when everything is there, else 503; each check says `ok` or what is missing."""
    checks = _database_checks(services)
    checks["frontend"] = OK if services.assets.is_built else "not built: run `npm run build`"
    is_ready = all(result == OK for result in checks.values())
    return JSONResponse({"ready": is_ready, "checks": checks}, 200 if is_ready else 503)


def _database_checks(services: Services) -> dict[str, str]:
    try:
        with services.engine.connect() as connection:
            return {
                "database": OK,
                "migrations": _migrations(connection),
                "marts": _marts(connection),
            }
    except DBAPIError:
        unknown = "not known: no database"
        return {"database": "unreachable", "migrations": unknown, "marts": unknown}


def _migrations(connection: Connection) -> str:
    current, head = current_revision(connection), head_revision()
    return OK if current == head else f"at {current or 'nothing'}, needs {head}"


# marts.customers is a view over the others; where it is, they are.
_HAS_MARTS: Final = text("SELECT to_regclass('marts.customers') IS NOT NULL")


def _marts(connection: Connection) -> str:
    return OK if connection.scalar(_HAS_MARTS) else "missing: run `ecomcrm rfm`"
