"""/ and the parts of it that refresh themselves."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Final

from fastapi import APIRouter, HTTPException, Query, Request
from starlette.responses import Response

from core.accounts import Viewer, shops_of
from core.database import session_scope
from core.models import Shop
from webapp.contexts import NoShopPage, OverviewPage, ShopLink, Template
from webapp.overview import View, figures_part, messages_part, status_part
from webapp.rendering import render
from webapp.sessions import CurrentViewer, ServicesOf

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
