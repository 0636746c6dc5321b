"""What the law asks for, and the end of the app: Shopify tells the app, it does not ask it."""

from collections.abc import Iterable

import orjson

from sandbox.history import ERASED, digest, note_departure, note_erasure
from sandbox.http import BadRequestError
from sandbox.shapes import gid
from sandbox.shopify import rest_events
from sandbox.shopkeeper.shop import Body, Shop


def request_data(shop: Shop, number: int) -> Body:
    """A customer wants to know what is stored about them: customers/data_request."""
    customer, orders = _person(shop, number)
    payload = rest_events.data_request_payload(
        shop.row,
        rest_events.person_payload(customer),
        orders=orders,
        request=shop.number("next_line"),
    )
    webhook_id = shop.announce_compliance("customers/data_request", payload)
    return {"customer": customer["id"], "orders": len(orders), "webhook_id": webhook_id}


def redact_customer(shop: Shop, number: int, *, erase: bool = True) -> Body:
    """A customer is to be erased: customers/redact.

    Shopify has erased them itself by then; with `erase` false it still shows the person, as it
    does for a while. Their addresses may never be written to again in either case.
    """
    customer, orders = _person(shop, number)
    person = rest_events.person_payload(customer)
    payload = rest_events.redact_payload(shop.row, person, orders=orders)
    _remember(shop, number, person["email"])
    if erase:
        _erase(shop, number, orders)
    webhook_id = shop.announce_compliance("customers/redact", payload)
    return {"customer": customer["id"], "orders": len(orders), "webhook_id": webhook_id}


def redact_shop(shop: Shop) -> Body:
    """Shopify sends shop/redact 48 hours after the app was removed."""
    payload = rest_events.shop_redact_payload(shop.row)
    return {"webhook_id": shop.announce_compliance("shop/redact", payload)}


def uninstall(shop: Shop) -> Body:
    """The merchant removes the app: its tokens and subscriptions are gone at once."""
    webhook_id = shop.announce("app/uninstalled", rest_events.uninstalled_payload(shop.row))
    for table in ("subscriptions", "tokens"):
        shop.db.execute(f"delete from {table} where shop = ?", [shop.num])
    shop.db.execute(
        "insert or ignore into uninstalls (shop, at) values (?, ?)", [shop.num, shop.now]
    )
    return {"webhook_id": webhook_id}


def install(shop: Shop) -> Body:
    """The merchant installs the app again; it has to subscribe anew."""
    again = shop.db.execute("delete from uninstalls where shop = ?", [shop.num]).rowcount
    return {"installed": bool(again)}


def _person(shop: Shop, number: int) -> tuple[Body, list[int]]:
    """(the customer, also one who was deleted or merged away; the numbers of their orders)."""
    row = (
        shop.find_customer(number)
        or shop.db.execute(
            "select body from former_customers where shop = ? and num = ? and body is not null",
            [shop.num, number],
        ).fetchone()
    )
    if row is None:
        raise BadRequestError(f"the shop has no customer {number}, or they are erased")
    orders = shop.db.execute(
        """select num from orders where shop = ?1 and customer = ?2
           union select num from order_moves where shop = ?1 and previous = ?2 order by num""",
        [shop.num, number],
    )
    return orjson.loads(row["body"]), [num for (num,) in orders]


def _remember(shop: Shop, number: int, address: str | None) -> None:
    """Keeps as digests which addresses the customer had, and that they are erased."""
    before = shop.db.execute(
        "select previous from address_changes where shop = ? and customer = ?", [shop.num, number]
    ).fetchall()
    row = shop.find_customer(number)
    if row is not None:
        note_departure(shop.db, shop.num, row, ERASED, at=shop.now)
    shop.db.execute(
        "update former_customers set how = ?, body = null where shop = ? and num = ?",
        [ERASED, shop.num, number],
    )
    addresses = [digest(address), *(previous for (previous,) in before)]
    note_erasure(shop.db, shop.num, addresses, at=shop.now)


def _erase(shop: Shop, number: int, orders: Iterable[int]) -> None:
    """Empties what Shopify itself empties: the customer, and the address on their orders."""
    row = shop.find_customer(number)
    if row is not None:
        customer = orjson.loads(row["body"])
        nothing = ("firstName", "lastName", "defaultEmailAddress", "defaultPhoneNumber")
        shop.save_customer(row, customer | dict.fromkeys(nothing) | {"tags": []})
    owner = {"id": gid("Customer", number), "defaultEmailAddress": None}
    shop.rewrite("checkouts", number, {"customer": owner}, owner=number)
    for order in orders:
        shop.db.execute(
            """update orders set body = cast(json_set(cast(body as text), '$.email', null) as blob)
               where shop = ? and num = ?""",
            [shop.num, order],
        )
