"""POST /webhooks/shopify and /webhooks/resend: the raw body, handed on as it came.

The only `async` handlers: a body is read as it arrives, up to a limit (webapp/middleware.py),
without holding a thread; the work itself runs in one.
"""

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from activation import events
from core.ingestion import inbox
from webapp.sessions import ServicesOf

router = APIRouter()


@router.post("/webhooks/shopify")
async def receive_from_shopify(request: Request, services: ServicesOf) -> Response:
    """200 once stored, 401 wrong signature, 413 too large, 503 deliver again."""
    body = await request.body()
    received = await run_in_threadpool(
        inbox.receive,
        services.session_factory,
        headers=request.headers,
        body=body,
        settings=services.settings,
        clock=services.clock,
    )
    return _answer(received.status, received.state)


@router.post("/webhooks/resend")
async def receive_from_resend(request: Request, services: ServicesOf) -> Response:
    """200 once stored, 401 wrong signature, 413 too large, 503 deliver again."""
    body = await request.body()
    received = await run_in_threadpool(
        events.receive,
        services.session_factory,
        headers=request.headers,
        body=body,
        provider=services.provider,
        clock=services.clock,
    )
    return _answer(received.status, received.state)


def _answer(status: int, state: str | None) -> Response:
    """The state helps whoever reads the vendor's delivery log; vendors look only at the status."""
    return JSONResponse({"state": state}, status)
