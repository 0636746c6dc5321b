"""/ and the parts of it that refresh themselves."""

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Final

from fastapi import APIRouter, Form, HTTPException, Query, Request
from sqlalchemy.orm import Session
from starlette.responses import RedirectResponse, Response

from activation.acceptance import accept_held
from activation.holds import read_hold
from core.accounts import Viewer, shops_of
from core.database import session_scope
from core.models import Shop, ShopMember
from core.models.enums import Role
from core.shops import business_clock
from webapp.contexts import HeldPage, NoShopPage, OverviewPage, ShopLink, Template
from webapp.overview import View, figures_part, messages_part, status_part
from webapp.rendering import render
from webapp.sessions import CheckedViewer, CurrentViewer, FormText, ServicesOf

router = APIRouter()

ShopQuery = Annotated[int | None, Query(ge=1, le=2**31 - 1)]

PARTS: Final[Mapping[str, Callable[[View], Template]]] = MappingProxyType(
    {"status": status_part, "figures": figures_part, "messages": messages_part}
)


@router.get("/")
def show_overview(
    request: Request, services: ServicesOf, viewer: CurrentViewer, shop: ShopQuery = None
) -> Response:
    with session_scope(services.session_factory) as session:
        shops = shops_of(session, viewer.user_id)
        if not shops and shop is None:
            return render(request, NoShopPage(email=viewer.email, csrf_token=viewer.csrf_token))
        current = _choose(shops, shop)
        view = View.at(session, current, services.clock)
        return render(request, _page(view, viewer, shops))


@router.get("/overview/{part}")
def show_part(
    request: Request, services: ServicesOf, viewer: CurrentViewer, part: str, shop: ShopQuery = None
) -> Response:
    """The inside of one part of the page, from the same template as the page itself."""
    build = PARTS.get(part)
    if build is None:
        raise HTTPException(404)
    with session_scope(services.session_factory) as session:
        current = _choose(shops_of(session, viewer.user_id), shop)
        return render(request, build(View.at(session, current, services.clock)))


@router.get("/held")
def show_held(
    request: Request, services: ServicesOf, viewer: CurrentViewer, shop: ShopQuery = None
) -> Response:
    """What the data gate holds in this shop, and why."""
    with session_scope(services.session_factory) as session:
        current = _choose(shops_of(session, viewer.user_id), shop)
        held = read_hold(session, current.shop_id)
        return render(
            request,
            HeldPage(
                email=viewer.email,
                csrf_token=viewer.csrf_token,
                shop_id=current.shop_id,
                shop_name=current.name,
                reason=held.reason if held else None,
                advice=held.advice if held else "",
                since=View.at(session, current, services.clock).moment(held.held_at)
                if held
                else None,
                seen=held.held_at.isoformat() if held else "",
                may_accept=_may_accept(session, current.shop_id, viewer),
            ),
        )


@router.post("/held")
def accept_hold(
    services: ServicesOf,
    viewer: CheckedViewer,
    shop: Annotated[int, Form(ge=1, le=2**31 - 1)],
    seen: Annotated[datetime, Form()],
    reason: Annotated[FormText, Form(max_length=500)] = "",
) -> Response:
    """303 to the overview; 403 for an analyst; 409 without a reason, or if it is held no more."""
    with session_scope(services.session_factory) as session:
        current = _choose(shops_of(session, viewer.user_id), shop)
        if not _may_accept(session, current.shop_id, viewer):
            raise HTTPException(403)
        now = business_clock(current, services.clock).now()
    accept_held(
        services.session_factory,
        shop_id=shop,
        reason=reason,
        now=now,
        user_id=viewer.user_id,
        seen=seen,
    )
    return RedirectResponse(f"/?shop={shop}", status_code=303)


def _may_accept(session: Session, shop_id: int, viewer: Viewer) -> bool:
    member = session.get_one(ShopMember, (shop_id, viewer.user_id))
    return member.role in (Role.OWNER, Role.MARKETER)


def _choose(shops: list[Shop], wanted: int | None) -> Shop:
    """Another's shop is as unknown as one that does not exist."""
    for shop in shops:
        if wanted is None or shop.shop_id == wanted:
            return shop
    raise HTTPException(404)


def _page(view: View, viewer: Viewer, shops: list[Shop]) -> OverviewPage:
    current = view.shop
    return OverviewPage(
        title=current.name,
        email=viewer.email,
        csrf_token=viewer.csrf_token,
        shop_id=current.shop_id,
        shop_name=current.name,
        shop_domain=current.domain,
        is_sandbox=current.is_sandbox,
        shops=tuple(
            ShopLink(
                name=shop.name,
                url=f"/?shop={shop.shop_id}",
                is_current=shop.shop_id == current.shop_id,
            )
            for shop in shops
        ),
        status=status_part(view),
        figures=figures_part(view),
        messages=messages_part(view),
    )
