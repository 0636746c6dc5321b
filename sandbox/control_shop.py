"""`/_sandbox/shops/{shop}/…`: what a person or a test lets happen in a shop."""

from contextlib import AbstractContextManager

from starlette.responses import Response

from sandbox import asking, shopkeeper
from sandbox.http import BadRequestError, Call, json_object, reply
from sandbox.open_shop import open_shop
from sandbox.scenario import play
from sandbox.shapes import MARKETING_STATES
from sandbox.world import World

MAX_SCENARIO = 10_000


class ShopControl:
    """Handlers; each call is one transaction in the shop."""

    def __init__(self, world: World) -> None:
        self._world = world

    def _shop(self, call: Call) -> AbstractContextManager[shopkeeper.Shop]:
        return open_shop(self._world, call.params["shop"])

    # ------------------------------------------------------------------ orders

    def place_order(self, call: Call) -> Response:
        wanted, copies = asking.purchase(json_object(call.body))
        with self._shop(call) as shop:
            done = shopkeeper.place_order(shop, wanted, at=[shop.now] * copies)
        return reply(done, 201)

    def cancel_order(self, call: Call) -> Response:
        with self._shop(call) as shop:
            return reply(shopkeeper.cancel_order(shop, call.params["number"]))

    def refund_order(self, call: Call) -> Response:
        asked = json_object(call.body)
        asking.only(asked, "amount")
        sum_ = None if asked.get("amount") is None else asking.decimal("amount", asked["amount"])
        with self._shop(call) as shop:
            return reply(shopkeeper.refund_order(shop, call.params["number"], sum_))

    def edit_order(self, call: Call) -> Response:
        asked = json_object(call.body)
        asking.only(asked, "quantities", "add")
        left = asking.quantities(asked.get("quantities"))
        add = asking.lines(asked.get("add"), "add")
        with self._shop(call) as shop:
            return reply(
                shopkeeper.edit_order(shop, call.params["number"], quantities=left, add=add)
            )

    def delete_order(self, call: Call) -> Response:
        with self._shop(call) as shop:
            return reply(shopkeeper.delete_order(shop, call.params["number"]))

    # ------------------------------------------------------------------ checkouts

    def start_checkout(self, call: Call) -> Response:
        asked = json_object(call.body)
        asking.only(asked, "customer", "lines")
        customer = asking.customer(asked.get("customer"))
        if customer is None:
            raise BadRequestError("a checkout is only known once it has a customer")
        lines = asking.lines(asked.get("lines"), "lines")
        with self._shop(call) as shop:
            done = (
                shopkeeper.start_checkout(shop, customer, lines)
                if lines
                else shopkeeper.start_checkout(shop, customer)
            )
        return reply(done, 201)

    def update_checkout(self, call: Call) -> Response:
        asked = json_object(call.body)
        asking.only(asked, "lines")
        lines = asking.lines(asked.get("lines"), "lines")
        if not lines:
            raise BadRequestError("lines must be given: what lies in the basket now")
        with self._shop(call) as shop:
            return reply(shopkeeper.update_checkout(shop, call.params["token"], lines))

    def complete_checkout(self, call: Call) -> Response:
        with self._shop(call) as shop:
            return reply(shopkeeper.complete_checkout(shop, call.params["token"]), 201)

    def delete_checkout(self, call: Call) -> Response:
        with self._shop(call) as shop:
            return reply(shopkeeper.delete_checkout(shop, call.params["token"]))

    # ------------------------------------------------------------------ customers

    def set_consent(self, call: Call) -> Response:
        asked = json_object(call.body)
        asking.only(asked, "consent")
        state = asking.one_of("consent", asked.get("consent"), MARKETING_STATES)
        with self._shop(call) as shop:
            return reply(shopkeeper.set_consent(shop, call.params["number"], state))

    def change_tags(self, call: Call) -> Response:
        asked = json_object(call.body)
        asking.only(asked, "add", "remove")
        add, remove = asking.tags(asked, "add"), asking.tags(asked, "remove")
        with self._shop(call) as shop:
            return reply(
                shopkeeper.change_tags(shop, call.params["number"], add=add, remove=remove)
            )

    def change_customer(self, call: Call) -> Response:
        changes = asking.customer_changes(json_object(call.body))
        with self._shop(call) as shop:
            return reply(shopkeeper.change_customer(shop, call.params["number"], changes))

    def delete_customer(self, call: Call) -> Response:
        with self._shop(call) as shop:
            return reply(shopkeeper.delete_customer(shop, call.params["number"]))

    def merge_customers(self, call: Call) -> Response:
        asked = json_object(call.body)
        asking.only(asked, "customer", "fails")
        gone = asking.customer_number("customer", asked.get("customer"))
        fails = asking.flag(asked, "fails")
        with self._shop(call) as shop:
            return reply(shopkeeper.merge_customers(shop, call.params["number"], gone, fails=fails))

    # ------------------------------------------------------------------ privacy and the app

    def request_data(self, call: Call) -> Response:
        with self._shop(call) as shop:
            return reply(shopkeeper.request_data(shop, call.params["number"]))

    def redact_customer(self, call: Call) -> Response:
        asked = json_object(call.body)
        asking.only(asked, "erase")
        erase = asking.flag(asked, "erase", default=True)
        with self._shop(call) as shop:
            return reply(shopkeeper.redact_customer(shop, call.params["number"], erase=erase))

    def redact_shop(self, call: Call) -> Response:
        with self._shop(call) as shop:
            return reply(shopkeeper.redact_shop(shop))

    def uninstall(self, call: Call) -> Response:
        with self._shop(call) as shop:
            return reply(shopkeeper.uninstall(shop))

    def install(self, call: Call) -> Response:
        with self._shop(call) as shop:
            return reply(shopkeeper.install(shop))

    # ------------------------------------------------------------------ the scenario

    def scenario(self, call: Call) -> Response:
        asked = json_object(call.body)
        asking.only(asked, "orders", "seed", "first_sync_started_at", "spread_seconds")
        orders = asking.whole(asked, "orders", 1, MAX_SCENARIO, default=60)
        seed = asking.whole(asked, "seed", 0, 2**63, default=7)
        spread = asking.number(asked, "spread_seconds", default=2.0)
        started = asking.moment("first_sync_started_at", asked.get("first_sync_started_at"))
        with self._shop(call) as shop:
            before = shop.row["loaded_at"] if started is None else started
            return reply(play(shop, orders=orders, seed=seed, before=before, spread=spread), 201)
