"""GET /c/{token}: count a click and send the reader on.

No login, no cookie, no database: where the link leads is in it, under our signature, so it leads
nowhere that we have not written into a mail ourselves. HEAD, which only programs send, does not
count. Nothing else happens here: whoever follows a link has bought and unsubscribed nothing.
"""

from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from activation.clicks import PATH, read_link
from activation.events.own import Visit
from webapp.errors import BrokenLinkError
from webapp.sessions import ServicesOf

router = APIRouter()

HEADERS: Final = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-robots-tag": "noindex",
}


@router.api_route(f"{PATH}{{token}}", methods=["GET", "HEAD"])
async def follow(request: Request, services: ServicesOf, token: str) -> Response:
    """302 to where the link leads; 204 for the trap; 404 for what we did not sign.

    `async`, because it waits for nothing.
    """
    link = read_link(services.settings, token)
    if link is None:
        raise BrokenLinkError
    if request.method == "GET":
        services.clicks.add(
            Visit(
                link,
                services.clock.now(),
                request.client.host if request.client else None,
                request.headers.get("user-agent"),
            )
        )
    if link.url is None:
        return Response(status_code=204, headers=HEADERS)
    return Response(status_code=302, headers=HEADERS | {"location": link.url})
