"""The first page: the loaded shops, what is under way, a form to place an order, the simulator."""

from typing import Any
from urllib.parse import urlencode

import orjson
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from sandbox import shopkeeper
from sandbox.http import BadRequestError, Call
from sandbox.open_shop import open_shop
from sandbox.order_form import CONSENTS, OrderForm, checked_form, fresh_form, read_fields
from sandbox.pages import render_page
from sandbox.shopify.rest_shapes import number_of
from sandbox.simulator import Simulator
from sandbox.world import World

MAX_DIGITS = 18
USUAL_RATE = 60
ELSEWHERE = (
    "Forms are taken from the sandbox's own page. Programs use POST /_sandbox/shops/{shop}/orders."
)


class Front:
    """Handlers of the first page and its form."""

    def __init__(self, world: World, simulator: Simulator) -> None:
        self._world, self._simulator = world, simulator

    def index(self, call: Call) -> Response:
        return self._page(placed=self._placed(call))

    def place_order(self, call: Call) -> Response:
        """Places the order and goes back to the first page; 422 with the form if it is wrong."""
        if call.method != "POST":
            return RedirectResponse("/", 303)
        if not _is_from_own_page(call):
            return PlainTextResponse(ELSEWHERE, 403)
        fields = read_fields(call.body)
        domain, form = fields.get("shop", ""), checked_form(fields)
        if form.errors:
            return self._page(status=422, wrong={domain: form})
        with open_shop(self._world, domain) as shop:
            done = shopkeeper.place_order(shop, form.purchase(), at=[shop.now])
        asked = {"shop": domain, "order": number_of(done["order"])}
        return RedirectResponse(f"/?{urlencode(asked)}", 303)

    def simulate(self, call: Call) -> Response:
        """Starts the simulator for a shop, or stops it: a rate of 0."""
        if call.method != "POST":
            return RedirectResponse("/", 303)
        if not _is_from_own_page(call):
            return PlainTextResponse(ELSEWHERE, 403)
        fields = read_fields(call.body)
        rate = fields.get("orders_per_hour", "")
        if not (rate.isascii() and rate.isdigit() and len(rate) <= MAX_DIGITS):
            raise BadRequestError("orders_per_hour must be a whole number")
        self._simulator.change_rate(fields.get("shop", ""), float(rate))
        return RedirectResponse("/#simulator", 303)

    def _page(
        self,
        *,
        status: int = 200,
        placed: dict[str, Any] | None = None,
        wrong: dict[str, OrderForm] | None = None,
    ) -> Response:
        with self._world.store.read() as db:
            shops = [dict(row) for row in db.execute(_SHOPS)]
            mails = db.execute("select count(*) from emails").fetchone()[0]
            states = dict(db.execute("select state, count(*) from deliveries group by state"))
        played = {shop["domain"]: self._simulator.report(shop["domain"]) for shop in shops}
        forms = {shop["domain"]: fresh_form() for shop in shops} | (wrong or {})
        return render_page(
            "index.html",
            status=status,
            shops=shops,
            forms=forms,
            consents=CONSENTS,
            placed=placed,
            played=played,
            usual_rate=USUAL_RATE,
            mails=mails,
            states=states,
            faults=self._world.faults.changed(),
            here="index",
        )

    def _placed(self, call: Call) -> dict[str, Any] | None:
        """The order that the form was redirected with, read back: the address is not believed."""
        number = call.query.get("order", "")
        if not (number.isascii() and number.isdigit() and len(number) <= MAX_DIGITS):
            return None
        with self._world.store.read() as db:
            row = db.execute(_PLACED, [call.query.get("shop"), int(number)]).fetchone()
        if row is None:
            return None
        return {"name": orjson.loads(row["body"])["name"], "is_announced": row["is_announced"]}


def _is_from_own_page(call: Call) -> bool:
    """Whether the browser says so: any page may send a form here, only its answer is hidden."""
    site = call.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    return call.headers.get("origin") == call.base_url


_SHOPS = """
select domain, name, currency, time_zone,
       (select count(*) from customers where customers.shop = shops.shop) as customers,
       (select count(*) from orders where orders.shop = shops.shop) as orders,
       (select count(*) from subscriptions where subscriptions.shop = shops.shop) as webhooks
from shops order by domain"""
_PLACED = """
select orders.body, exists (
    select 1 from deliveries
    where deliveries.shop = orders.shop and order_num = orders.num and topic = 'orders/create'
) as is_announced
from orders join shops on shops.shop = orders.shop
where domain = ? and orders.num = ?"""
