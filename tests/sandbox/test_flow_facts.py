"""What the oracle of the flows reads from the store."""

from decimal import Decimal

from sandbox import shopkeeper
from sandbox.flow_facts import ORDERED, UNCOUNTED, story_of
from sandbox.open_shop import open_shop
from sandbox.shopkeeper import Purchase
from tests.sandbox.support import DOMAIN, Running


def test_an_order_that_was_refunded_later_was_worth_its_total_until_then(shop: Running) -> None:
    """It was told as worth nothing from the beginning: the oracle saw no champion where one was."""
    with open_shop(shop.world, DOMAIN) as at:
        placed = shopkeeper.place_order(at, Purchase(customer=1, total=Decimal("120.50")))
        number = placed["order"].rsplit("/", 1)[1]
        shopkeeper.refund_order(at, int(number), None)
        facts = story_of(at.db, at.num).facts
    told = [(fact.what, fact.spent) for fact in facts if fact.key == number]
    assert sorted(told) == [(ORDERED, Decimal("120.5")), (UNCOUNTED, Decimal(0))]
