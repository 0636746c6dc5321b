"""Reads what a control call asks for; BadRequestError says what is wrong with it."""

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from sandbox.clock import epoch
from sandbox.http import BadRequestError
from sandbox.resend.validation import ADDRESS
from sandbox.shapes import (
    FINANCIAL_STATUSES,
    LARGEST_ID,
    MARKETING_STATES,
    BadLineError,
    id_number,
)
from sandbox.shopkeeper import Buyer, Line, Purchase, total_of
from sandbox.simulator import Pace

MAX_COPIES = 10
MAX_READS = 100
MAX_LINES = 50
MAX_UNITS = 1_000
Body = dict[str, Any]


def purchase(asked: Body) -> tuple[Purchase, int]:
    """(the order to place, copies of its webhook). Raises BadRequestError."""
    only(
        asked,
        *("customer", "total", "test", "cancelled", "processed_at", "readable_after_reads"),
        *("webhook", "financial_status", "lines", "discount_codes"),
    )
    bought = lines(asked.get("lines"), "lines")
    total = decimal("total", asked["total"]) if "total" in asked else _usual_total(bought)
    if total < 0:
        raise BadRequestError("total must not be below zero")
    processed_at = moment("processed_at", asked.get("processed_at"))
    webhook = asked.get("webhook") or {}
    if not isinstance(webhook, dict):
        raise BadRequestError("webhook must be an object")
    only(webhook, "copies")
    wanted = Purchase(
        customer=customer(asked.get("customer")),
        total=total,
        lines=bought,
        test=flag(asked, "test"),
        cancelled=flag(asked, "cancelled"),
        processed_at=processed_at,
        readable_after_reads=whole(asked, "readable_after_reads", 0, MAX_READS, default=0),
        status=one_of(
            "financial_status", asked.get("financial_status", "PAID"), FINANCIAL_STATUSES
        ),
        discount_codes=_codes(asked.get("discount_codes")),
    )
    return wanted, whole(webhook, "copies", 1, MAX_COPIES, default=1)


def _codes(given: Any) -> tuple[str, ...]:
    codes = [] if given is None else given
    if not isinstance(codes, list) or not all(isinstance(code, str) and code for code in codes):
        raise BadRequestError("discount_codes must be a list of codes")
    return tuple(codes)


def _usual_total(bought: Sequence[Line]) -> Decimal:
    return total_of(bought) if bought else Decimal("49.90")


def customer(given: Any) -> Buyer | int | None:
    """Null is a guest, an id someone the shop knows, an address anyone."""
    if given is None:
        return None
    if not isinstance(given, dict):
        raise BadRequestError("customer must be an object or null")
    if "id" in given:
        only(given, "id")
        return customer_number("customer.id", given["id"])
    only(given, "email", "first_name", "last_name", "consent")
    for name, value in given.items():
        if not isinstance(value, str):
            raise BadRequestError(f"customer.{name} must be a text")
    if not ADDRESS.fullmatch(given.get("email", "").strip()):
        raise BadRequestError("customer.email must be an address")
    state = given.get("consent", "NOT_SUBSCRIBED")
    return Buyer(**{**given, "consent": one_of("customer.consent", state, MARKETING_STATES)})


def customer_changes(asked: Body) -> dict[str, str | None]:
    """Some of `first_name`, `last_name`, `email`, `phone`."""
    only(asked, "first_name", "last_name", "email", "phone")
    if not asked:
        raise BadRequestError("nothing to change; known: first_name, last_name, email, phone")
    changes = {name: text(asked, name) for name in asked}
    if changes.get("email") and not ADDRESS.fullmatch(str(changes["email"]).strip()):
        raise BadRequestError("email must be an address")
    return changes


def customer_number(name: str, value: Any) -> int:
    try:
        return id_number(value, "Customer")
    except BadLineError:
        raise BadRequestError(f"{name} must be a customer's gid") from None


def lines(given: Any, name: str) -> list[Line]:
    """`[{"title", "price", "quantity", "variant_title", "sku", "product"}]`, price alone needed."""
    if given is None:
        return []
    if not isinstance(given, list) or not 0 < len(given) <= MAX_LINES:
        raise BadRequestError(f"{name} must be a list of 1 to {MAX_LINES} lines")
    return [_line(each, f"{name}[{place}]") for place, each in enumerate(given)]


def _line(given: Any, name: str) -> Line:
    if not isinstance(given, dict):
        raise BadRequestError(f"{name} must be an object")
    only(given, "title", "price", "quantity", "variant_title", "sku", "product")
    texts = {key: text(given, key) for key in ("title", "variant_title", "sku") if key in given}
    price = decimal(f"{name}.price", given.get("price"))
    if price < 0:
        raise BadRequestError(f"{name}.price must not be below zero")
    product = given.get("product")
    return Line(
        **{key: value for key, value in texts.items() if value is not None},
        price=price,
        quantity=whole(given, "quantity", 1, MAX_UNITS, default=1),
        product=None if product is None else whole(given, "product", 1, LARGEST_ID, default=1),
    )


def quantities(given: Any) -> dict[int, int]:
    """`{"<number of a line>": units left}`."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise BadRequestError("quantities must be an object")
    for name, units in given.items():
        if not (name.isascii() and name.isdigit()) or not is_whole(units):
            raise BadRequestError("quantities must have units for the numbers of lines")
        if not 0 <= units <= MAX_UNITS:
            raise BadRequestError(f"quantities must be 0 to {MAX_UNITS}")
    return {int(name): units for name, units in given.items()}


def pace(asked: Body) -> Pace:
    """How a shop is played; a rate of null is that of the knob."""
    only(asked, "orders_per_hour", "seed", "business_hours")
    rate = asked.get("orders_per_hour")
    return Pace(
        orders_per_hour=None if rate is None else number(asked, "orders_per_hour", default=0.0),
        seed=whole(asked, "seed", 0, 2**63, default=1),
        business_hours=flag(asked, "business_hours"),
    )


def tags(given: Body, name: str) -> list[str]:
    value = given.get(name, [])
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise BadRequestError(f"{name} must be a list of texts")
    return value


def text(given: Body, name: str) -> str | None:
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise BadRequestError(f"{name} must be a text or null")
    return value


def only(given: Body, *names: str) -> None:
    unknown = sorted(given.keys() - set(names))
    if unknown:
        raise BadRequestError(f"unknown: {', '.join(unknown)}; known: {', '.join(names)}")


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def whole(given: Body, name: str, least: int, most: int, *, default: int) -> int:
    value = given.get(name, default)
    if not is_whole(value) or not least <= value <= most:
        raise BadRequestError(f"{name} must be {least} to {most}")
    return int(value)


def number(given: Body, name: str, *, default: float) -> float:
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise BadRequestError(f"{name} must be a number, not below zero")
    return float(value)


def flag(given: Body, name: str, *, default: bool = False) -> bool:
    value = given.get(name, default)
    if not isinstance(value, bool):
        raise BadRequestError(f"{name} must be true or false")
    return value


def one_of(name: str, value: Any, allowed: frozenset[str]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise BadRequestError(f"{name} must be one of {', '.join(sorted(allowed))}")
    return value


def decimal(name: str, value: Any) -> Decimal:
    try:
        number = Decimal(value) if isinstance(value, str) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite():
        raise BadRequestError(f"{name} must be an amount as a text, such as 49.90")
    return number


def moment(name: str, value: Any) -> float | None:
    """An ISO stamp; `+00:00` in a query string arrives with a blank for its plus."""
    if value is None:
        return None
    try:
        return epoch(re.sub(r" (\d\d:?\d\d)$", r"+\1", value))
    except (TypeError, ValueError):
        raise BadRequestError(f"{name} must be an ISO 8601 time with an offset") from None


def tag(given: str | None) -> tuple[str, str] | None:
    if given is None:
        return None
    name, colon, value = given.partition(":")
    if not colon:
        raise BadRequestError("tag must look like name:value")
    return name, value
