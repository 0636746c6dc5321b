"""`/_sandbox/…`: the control API for people, tests and the product's commands; loopback only."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from starlette.responses import Response

from sandbox import shopkeeper
from sandbox.clock import epoch
from sandbox.http import BadRequestError, Call, json_object, reply
from sandbox.loader import AlreadyLoadedError, FolderError, load_folder
from sandbox.oracle import welcome_verdict
from sandbox.resend.validation import ADDRESS
from sandbox.scenario import play
from sandbox.shapes import FINANCIAL_STATUSES, MARKETING_STATES
from sandbox.shopkeeper import Buyer, Purchase
from sandbox.world import World

MAX_COPIES = 10
MAX_READS = 100
MAX_SCENARIO = 10_000
Body = dict[str, Any]


class Missing(Exception):  # noqa: N818 - an answer, 404
    """The shop that was named is not loaded."""


@contextmanager
def open_shop(world: World, domain: str) -> Iterator[shopkeeper.Shop]:
    """One transaction in the shop; the deliverer is woken after it. Raises Missing."""
    with world.store.write() as db:
        row = _shop_row(db, domain)
        yield shopkeeper.Shop(db=db, row=row, version=world.api_version, now=world.clock.now())
    world.deliverer.wake()


class Control:
    """Handlers of the control API."""

    def __init__(self, world: World) -> None:
        self._world = world

    # ------------------------------------------------------------------ shops

    def health(self, _call: Call) -> Response:
        with self._world.store.read() as db:
            shops = db.execute("select count(*) from shops").fetchone()[0]
        return reply({"status": "ok", "shops": shops})

    def shops(self, call: Call) -> Response:
        if call.method == "POST":
            return self._load(json_object(call.body))
        with self._world.store.read() as db:
            rows = db.execute("select * from shops order by domain").fetchall()
            return reply({"shops": [_about(db, row) for row in rows]})

    def _load(self, asked: Body) -> Response:
        _only(asked, "folder", "replace", "if_absent")
        folder = asked.get("folder")
        if not isinstance(folder, str) or not Path(folder).is_absolute():
            raise BadRequestError("folder must be an absolute path")
        try:
            done = load_folder(
                self._world.store,
                Path(folder),
                now=self._world.clock.now(),
                replace=asked.get("replace") is True,
                if_absent=asked.get("if_absent") is True,
            )
        except AlreadyLoadedError as error:
            return reply({"error": str(error)}, 409)
        except FolderError as error:
            return reply({"error": str(error)}, 422)
        return reply(done, 201 if done["loaded"] else 200)

    # ------------------------------------------------------------------ what happens in a shop

    def _shop(self, call: Call) -> AbstractContextManager[shopkeeper.Shop]:
        return open_shop(self._world, call.params["shop"])

    def place_order(self, call: Call) -> Response:
        asked = json_object(call.body)
        wanted, copies = purchase(asked)
        with self._shop(call) as shop:
            done = shopkeeper.place_order(shop, wanted, at=[shop.now] * copies)
        return reply(done, 201)

    def cancel_order(self, call: Call) -> Response:
        with self._shop(call) as shop:
            return reply(shopkeeper.cancel_order(shop, call.params["number"]))

    def refund_order(self, call: Call) -> Response:
        asked = json_object(call.body)
        _only(asked, "amount")
        sum_ = None if asked.get("amount") is None else _decimal("amount", asked["amount"])
        with self._shop(call) as shop:
            return reply(shopkeeper.refund_order(shop, call.params["number"], sum_))

    def set_consent(self, call: Call) -> Response:
        asked = json_object(call.body)
        _only(asked, "consent")
        state = _one_of("consent", asked.get("consent"), MARKETING_STATES)
        with self._shop(call) as shop:
            return reply(shopkeeper.set_consent(shop, call.params["number"], state))

    def scenario(self, call: Call) -> Response:
        asked = json_object(call.body)
        _only(asked, "orders", "seed", "first_sync_started_at", "spread_seconds")
        orders = _whole(asked, "orders", 1, MAX_SCENARIO, default=60)
        seed = _whole(asked, "seed", 0, 2**63, default=7)
        spread = asked.get("spread_seconds", 2.0)
        if isinstance(spread, bool) or not isinstance(spread, int | float) or spread < 0:
            raise BadRequestError("spread_seconds must be a number, not below zero")
        started = _time("first_sync_started_at", asked.get("first_sync_started_at"))
        with self._shop(call) as shop:
            before = shop.row["loaded_at"] if started is None else started
            return reply(play(shop, orders=orders, seed=seed, before=before, spread=spread), 201)

    # ------------------------------------------------------------------ verdicts and faults

    def oracle(self, call: Call) -> Response:
        flow = call.query.get("flow", "welcome")
        if flow != "welcome":
            return reply({"error": f"not in the sandbox: the flow {flow}"}, 501)
        since = _time("since", call.query.get("since"))
        if since is None:
            raise BadRequestError("since must be given: from when first orders are owed a mail")
        tag = _tag(call.query.get("tag"))
        with self._world.store.snapshot() as db:
            shop = _shop_row(db, call.params["shop"])["shop"]
            return reply(welcome_verdict(db, shop, since=since, tag=tag).report())

    def faults(self, call: Call) -> Response:
        if call.method == "DELETE":
            values = self._world.faults.reset()
        elif call.method == "POST":
            values = self._world.faults.set(json_object(call.body))
        else:
            values = self._world.faults.all()
        self._world.deliverer.wake()
        return reply(values)

    def deliveries(self, call: Call) -> Response:
        """The newest 100 webhooks and events with their state."""
        with self._world.store.read() as db:
            rows = db.execute(
                """select channel, topic, url, message_id, attempts, state, last_status, last_error
                   from deliveries where ? is null or state = ? order by num desc limit 100""",
                [call.query.get("state")] * 2,
            ).fetchall()
            states = db.execute("select state, count(*) from deliveries group by state").fetchall()
        return reply({"states": dict(states), "deliveries": [dict(row) for row in rows]})


# ------------------------------------------------------------------ reading what is asked


def purchase(asked: Body) -> tuple[Purchase, int]:
    """(the order to place, copies of its webhook). Raises BadRequestError."""
    _only(
        asked,
        *("customer", "total", "test", "cancelled", "processed_at", "readable_after_reads"),
        *("webhook", "financial_status"),
    )
    total = _decimal("total", asked.get("total", "49.90"))
    if total < 0:
        raise BadRequestError("total must not be below zero")
    processed_at = _time("processed_at", asked.get("processed_at"))
    webhook = asked.get("webhook") or {}
    if not isinstance(webhook, dict):
        raise BadRequestError("webhook must be an object")
    _only(webhook, "copies")
    wanted = Purchase(
        customer=_customer(asked.get("customer")),
        total=total,
        test=_flag(asked, "test"),
        cancelled=_flag(asked, "cancelled"),
        processed_at=processed_at,
        readable_after_reads=_whole(asked, "readable_after_reads", 0, MAX_READS, default=0),
        status=_one_of(
            "financial_status", asked.get("financial_status", "PAID"), FINANCIAL_STATUSES
        ),
    )
    return wanted, _whole(webhook, "copies", 1, MAX_COPIES, default=1)


def _customer(given: Any) -> Buyer | int | None:
    if given is None:
        return None
    if not isinstance(given, dict):
        raise BadRequestError("customer must be an object or null")
    if "id" in given:
        _only(given, "id")
        found = re.fullmatch(r"gid://shopify/Customer/(\d{1,18})", str(given["id"]))
        if found is None:
            raise BadRequestError("customer.id must be a customer's gid")
        return int(found[1])
    _only(given, "email", "first_name", "last_name", "consent")
    for name, value in given.items():
        if not isinstance(value, str):
            raise BadRequestError(f"customer.{name} must be a text")
    if not ADDRESS.fullmatch(given.get("email", "").strip()):
        raise BadRequestError("customer.email must be an address")
    state = given.get("consent", "NOT_SUBSCRIBED")
    return Buyer(**{**given, "consent": _one_of("customer.consent", state, MARKETING_STATES)})


def _shop_row(db: sqlite3.Connection, domain: str) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute(
        "select * from shops where domain = ?", [domain]
    ).fetchone()
    if row is None:
        raise Missing(f"no shop {domain} is loaded")
    return row


def _about(db: sqlite3.Connection, row: sqlite3.Row) -> Body:
    about = {name: row[name] for name in ("domain", "name", "currency", "time_zone")}
    for table in ("customers", "orders", "line_items"):
        about[table] = db.execute(
            f"select count(*) from {table} where shop = ?", [row["shop"]]
        ).fetchone()[0]
    return about


def _only(given: Body, *names: str) -> None:
    unknown = sorted(given.keys() - set(names))
    if unknown:
        raise BadRequestError(f"unknown: {', '.join(unknown)}; known: {', '.join(names)}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _whole(given: Body, name: str, least: int, most: int, *, default: int) -> int:
    value = given.get(name, default)
    if not _is_whole(value) or not least <= value <= most:
        raise BadRequestError(f"{name} must be {least} to {most}")
    return int(value)


def _flag(given: Body, name: str) -> bool:
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise BadRequestError(f"{name} must be true or false")
    return value


def _one_of(name: str, value: Any, allowed: frozenset[str]) -> str:
    if value not in allowed:
        raise BadRequestError(f"{name} must be one of {', '.join(sorted(allowed))}")
    return str(value)


def _decimal(name: str, value: Any) -> Decimal:
    try:
        number = Decimal(value) if isinstance(value, str) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite():
        raise BadRequestError(f"{name} must be an amount as a text, such as 49.90")
    return number


def _time(name: str, value: Any) -> float | None:
    """An ISO stamp; `+00:00` in a query string arrives with a blank for its plus."""
    if value is None:
        return None
    try:
        return epoch(re.sub(r" (\d\d:?\d\d)$", r"+\1", value))
    except (TypeError, ValueError):
        raise BadRequestError(f"{name} must be an ISO 8601 time with an offset") from None


def _tag(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    name, colon, value = text.partition(":")
    if not colon:
        raise BadRequestError("tag must look like name:value")
    return name, value
