"""Who is asked about by name in a played shop. None of them is held out of any flow."""

from decimal import Decimal

from sandbox import shopkeeper
from sandbox.flow_rules import FLOWS, is_held_out
from sandbox.shopkeeper import Buyer, Line, Purchase, Shop
from tests.sandbox.support import DOMAIN
from tests.simulation.played import Played


def is_free(customer: int) -> bool:
    return not any(is_held_out(DOMAIN, flow.key, customer) for flow in FLOWS)


def a_newcomer(shop: Shop) -> int:
    """Somebody subscribed who buys for the first time."""
    while True:
        (number,) = shop.db.execute("select max(num) + 1 from customers").fetchone()
        _, num = _place(shop, Buyer(email=f"n{number}@example.com", consent="SUBSCRIBED"), 20)
        if is_free(num):
            return num


def buys(shop: Shop, customer: int, price: int = 20) -> int:
    """The number of the order."""
    return _place(shop, customer, price)[0]


def _place(shop: Shop, who: Buyer | int, price: int) -> tuple[int, int]:
    line = Line(price=Decimal(price))
    placed = shopkeeper.place_order(shop, Purchase(customer=who, lines=[line], total=line.price))
    order, customer = (int(placed[name].rsplit("/", 1)[1]) for name in ("order", "customer"))
    return order, customer


def old_customers(shop: Shop, count: int) -> list[int]:
    """Subscribed ones who were there before the product was."""
    rows = shop.db.execute(
        "select num from customers where shop = ? and consent = 'SUBSCRIBED' order by num",
        [shop.num],
    ).fetchall()
    return [num for (num,) in rows if is_free(num)][:count]


def mails_to(played: Played, customer: int) -> list[str]:
    """The flows whose mails they got, oldest first."""
    return [mail.flow for mail in played.story().mails if mail.customer == customer]
