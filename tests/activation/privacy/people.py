"""A person who left traces everywhere, and a search that finds every one of them."""

import contextlib
import json
import zlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from activation.outbox.packing import unpack
from core.database import session_scope
from core.models import (
    Base,
    Checkout,
    ConsentConfirmation,
    ConsentEvent,
    CustomerMerge,
    CustomerTouch,
    DeletedObject,
    DeliveryEvent,
    Engagement,
    InboxMessage,
    OptOut,
    PrivacyRequest,
    RefreshRequest,
    Refund,
    RejectedLine,
    Suppression,
    SyncRun,
    WriteBack,
)
from core.models.enums import (
    ConsentSource,
    ConsentStanding,
    EngagementKind,
    EngagementSource,
    EventState,
    InboxState,
    LeavingReason,
    ObjectType,
    PrivacyKind,
    PrivacyState,
    SuppressionReason,
    SyncKind,
    SyncState,
    WriteBackKind,
    WriteBackState,
)
from tests.activation.world import World
from tests.fixtures.marts import libpq_url

ADA = 7_311_900_550_001
FORMER_ADA = 7_311_900_550_002  # merged into ADA
OTHERS = (7_311_900_550_003, 7_311_900_550_004)
EMAIL = "ada.q@privat.example.com"
FORMER_EMAIL = "adalberta@frueher.example.com"
PHONE = "+49 151 23456789"
FIRST_NAME, LAST_NAME = "Adalberta", "Quitzow-Åberg"
SYNC_RUN = 1

STRINGS = (
    *(EMAIL, FORMER_EMAIL, "15123456789", FIRST_NAME, LAST_NAME),
    *(str(ADA), str(FORMER_ADA), "secret note of ada"),
)


CODE_OF_HERS = """
WITH mail AS (
    SELECT min(message_id) AS message_id, min(automation_id) AS automation_id
    FROM crm.messages WHERE shop_id = :shop_id AND customer_id = :customer_id
),
pool AS (
    INSERT INTO crm.discount_pools (
        shop_id, automation_id, step_key, terms, first_code, opened_at, assign_until, ends_at
    )
    SELECT :shop_id, automation_id, 'welcome_email', '{}', 'FIRST', :now, :now, :now FROM mail
    RETURNING pool_id
),
creation AS (
    INSERT INTO crm.discount_creations (
        shop_id, pool_id, state, requested_at, next_attempt_at
    )
    SELECT :shop_id, pool_id, 'done', :now, :now FROM pool
    RETURNING creation_id, pool_id
)
INSERT INTO crm.discount_codes (
    shop_id, pool_id, creation_id, code, state, message_id, assigned_at
)
SELECT :shop_id, pool_id, creation_id, 'HERS-7Q2', 'assigned', message_id, :now
FROM creation, mail
"""


def settle(world: World) -> None:
    """As if the time that erasing waits for other transactions were over."""
    world.execute(
        "UPDATE crm.privacy_requests SET next_attempt_at = clock_timestamp(), receipt = CASE"
        " WHEN receipt ? 'screened_at' THEN receipt || jsonb_build_object('screened_at',"
        " clock_timestamp() - interval '1 hour') END WHERE state = 'pending'"
    )


def ask(
    world: World, kind: PrivacyKind, subject: dict[str, Any] | None = None, *, webhook: str = "w-1"
) -> int:
    """A request as the compliance webhook leaves it."""
    with session_scope(world.factory) as session:
        request = PrivacyRequest(
            shop_id=world.shop_id,
            webhook_id=webhook,
            kind=kind,
            state=PrivacyState.PENDING,
            subject=subject,
            requested_at=world.now,
            due_at=world.now + timedelta(days=30),
            next_attempt_at=datetime.now(world.now.tzinfo),
        )
        session.add(request)
        session.flush()
        return request.privacy_request_id


def request_of(world: World, request_id: int) -> PrivacyRequest:
    with session_scope(world.factory) as session:
        return session.get_one(PrivacyRequest, (world.shop_id, request_id))


def subject(order_ids: list[int] | None = None) -> dict[str, Any]:
    return {"customer_id": ADA, "email": EMAIL, "phone": PHONE, "order_ids": order_ids or []}


def traces(world: World) -> int:
    """Ada in every table that can hold her, beside two others; returns an order of hers.

    She was mailed at her former address and at the one she has; she was merged, deleted once,
    unsubscribed, bounced; webhooks about her wait, failed and are done.
    """
    about_her = {"first_name": FIRST_NAME, "last_name": LAST_NAME, "phone": PHONE}
    world.add_customer(FORMER_ADA, email=FORMER_EMAIL, **about_her)
    former_order = world.place_order(FORMER_ADA, email=FORMER_EMAIL)
    world.buyers(OTHERS)
    world.run_cleanly()
    world.add_customer(ADA, email=EMAIL, tags=["vip"], locale="de", **about_her)
    world.execute(
        "INSERT INTO raw_shopify.tag_additions (shop_id, customer_id, tag, added_at)"
        " VALUES (:shop_id, :customer_id, 'vip', :now)",
        shop_id=world.shop_id,
        customer_id=ADA,
        now=world.now,
    )
    order = world.place_order(ADA, email=EMAIL, checkout_token="tok-ada")
    world.place_order(None, email=EMAIL.upper())
    world.run_cleanly()
    world.execute(CODE_OF_HERS, shop_id=world.shop_id, customer_id=ADA, now=world.now)
    world.set_customer(FORMER_ADA, deleted_at=world.now, merged_into=ADA)
    with session_scope(world.factory) as session:
        session.add(
            SyncRun(
                shop_id=world.shop_id,
                kind=SyncKind.FULL,
                state=SyncState.COMPLETED,
                started_at=world.now,
            )
        )
        session.flush()
        session.add_all(_rows(world, order, former_order))
    return order


def _rows(world: World, order: int, former_order: int) -> Iterator[Base]:
    shop_id, now = world.shop_id, world.now
    [former, hers] = [m for m in world.messages() if m.customer_id in (ADA, FORMER_ADA)]
    yield CustomerMerge(
        shop_id=shop_id,
        deleted_customer_id=FORMER_ADA,
        kept_customer_id=ADA,
        merged_at=now,
        applied_at=now,
    )
    yield DeletedObject(
        shop_id=shop_id, object_type=ObjectType.CUSTOMER, object_id=FORMER_ADA, deleted_at=now
    )
    yield Engagement(
        shop_id=shop_id,
        message_id=hers.message_id,
        engagement_key="click-1",
        kind=EngagementKind.CLICK,
        source=EngagementSource.OWN,
        url=f"https://shop.example/?for={EMAIL}",
        engaged_at=now,
        ip_address="192.0.2.7",
        user_agent=f"Mail app of {EMAIL}",
    )
    yield RefreshRequest(
        shop_id=shop_id,
        object_type=ObjectType.CUSTOMER,
        object_id=ADA,
        reason="consent",
        requested_at=now,
        next_attempt_at=None,
    )
    yield CustomerTouch(shop_id=shop_id, customer_id=ADA, touched_at=now)
    yield Refund(
        shop_id=shop_id, refund_id=1, order_id=order, processed_at=now, amount=5, currency="EUR"
    )
    for key, who in (
        ("c-1", {"customer_id": ADA}),
        ("c-2", {"email": f" {EMAIL.upper()}"}),
        ("c-3", {"phone": PHONE, "email": "x@x.example"}),
    ):
        yield Checkout(
            shop_id=shop_id,
            checkout_key=key,
            created_at=now,
            updated_at=now,
            currency="EUR",
            total=20,
            recovery_url=f"https://shop.example/{key}",
            **who,
        )
    for reason, address in (
        (SuppressionReason.UNSUBSCRIBED, FORMER_EMAIL),
        (SuppressionReason.HARD_BOUNCE, EMAIL),
    ):
        yield Suppression(
            shop_id=shop_id,
            email_normalized=address,
            reason=reason,
            suppressed_at=now,
            message_id=former.message_id,
        )
    yield ConsentEvent(
        shop_id=shop_id,
        email_normalized=FORMER_EMAIL,
        customer_id=FORMER_ADA,
        state_after=ConsentStanding.UNSUBSCRIBED,
        occurred_at=now,
        source=ConsentSource.PAGE,
        reason=LeavingReason.OTHER,
        reason_text="secret note of ada",
        ip="203.0.113.7",
        user_agent="Adalberta's browser",
    )
    yield ConsentConfirmation(
        shop_id=shop_id, email_normalized=EMAIL, customer_id=ADA, given_at=now, asked_at=now
    )
    yield OptOut(
        shop_id=shop_id,
        email_normalized=EMAIL,
        automation_id=hers.automation_id,
        opted_out_at=now,
    )
    yield WriteBack(
        shop_id=shop_id,
        dedupe_key=f"consent/{ADA}",
        customer_id=ADA,
        kind=WriteBackKind.CONSENT,
        state=WriteBackState.QUEUED,
        requested_at=now,
    )
    yield PrivacyRequest(
        shop_id=shop_id,
        webhook_id="w-0",
        kind=PrivacyKind.DATA_REQUEST,
        state=PrivacyState.COMPLETED,
        subject=subject(),
        requested_at=now,
        due_at=now,
        finished_at=now,
        export={"email": EMAIL},
    )
    yield from _events(world, hers.message_id)
    yield from _webhooks(world, order, former_order)
    for number, line in enumerate(_lines(order)):
        yield RejectedLine(
            shop_id=shop_id,
            sync_run_id=SYNC_RUN,
            object_type=ObjectType.CUSTOMER,
            line_number=number,
            content=line,
            error="not an address",
        )


def _events(world: World, message_id: int) -> Iterator[DeliveryEvent]:
    tags = {"shop_id": str(world.shop_id), "send_id": str(message_id)}
    for event_id, matched, data in (
        ("e-1", message_id, {"to": [EMAIL], "tags": tags}),
        ("e-2", None, {"to": [EMAIL.upper()]}),
        ("e-3", None, {"to": [EMAIL], "tags": tags | {"send_id": "99"}}),
    ):
        yield DeliveryEvent(
            provider="resend",
            event_id=event_id,
            shop_id=world.shop_id if matched else None,
            message_id=matched,
            event_type="email.delivered",
            occurred_at=world.now,
            state=EventState.MATCHED if matched else EventState.STORED,
            body={"data": data},
        )


def _webhooks(world: World, order: int, former_order: int) -> Iterator[InboxMessage]:
    note = {"note": "secret note of ada"}
    bodies: list[tuple[str, InboxState, Any]] = [
        ("customers/update", InboxState.APPLIED, {"id": ADA, "email": EMAIL, **note}),
        ("orders/create", InboxState.APPLIED, {"id": order, "customer": {"id": ADA}, **note}),
        ("orders/updated", InboxState.FAILED, {"id": order, "customer": None, **note}),
        ("orders/updated", InboxState.FAILED, {"id": former_order, **note}),
        ("refunds/create", InboxState.RECEIVED, {"id": 5, "order_id": order, **note}),
        ("checkouts/create", InboxState.APPLIED, {"token": "t", "email": EMAIL.upper(), **note}),
        (
            "customer.tags_added",
            InboxState.IGNORED,
            {"customerId": f"gid://shopify/Customer/{ADA}", **note},
        ),
        ("checkouts/update", InboxState.FAILED, {"phone": "+4915123456789", **note}),
        (
            "customers/redact",
            InboxState.APPLIED,
            {"customer": {"id": ADA, "email": EMAIL}, "orders_to_redact": [order], **note},
        ),
    ]
    broken = json.dumps({"email": EMAIL, **note}).encode()[:-3]
    slashed = json.dumps({"x": f"gid://shopify/Customer/{ADA}", **note}).replace("/", "\\/")
    encoded = [(topic, state, json.dumps(body).encode()) for topic, state, body in bodies]
    encoded += [
        ("unknown/topic", InboxState.FAILED, broken),
        ("unknown/topic", InboxState.APPLIED, slashed.encode()),
    ]
    for number, (topic, state, body) in enumerate(encoded):
        yield InboxMessage(
            shop_id=world.shop_id,
            webhook_id=f"hers-{number}",
            topic=topic,
            body=body,
            state=state,
            error="told" if state is InboxState.FAILED else None,
            next_attempt_at=None,
        )
    other = {"id": OTHERS[0], "quantity": order % 10, "email": "eve@example.com"}
    yield InboxMessage(
        shop_id=world.shop_id,
        webhook_id="others",
        topic="customers/update",
        body=json.dumps(other).encode(),
        state=InboxState.FAILED,
        next_attempt_at=None,
    )


def _lines(order: int) -> Iterator[bytes]:
    yield json.dumps({"id": f"gid://shopify/Customer/{ADA}"}).replace("/", "\\/").encode()
    yield f'{{"firstName":"{FIRST_NAME}","lastName":"{LAST_NAME}'.encode()
    yield json.dumps({"firstName": FIRST_NAME, "lastName": LAST_NAME}).encode()
    yield f'{{"email":"{EMAIL.upper()}"\xff'.encode("latin-1")
    parent = f"gid:\\/\\/shopify\\/Order\\/{order}"
    parent = f"gid:\\/\\/shopify\\/Order\\/{order}"
    yield f'{{"title":"secret note of ada","__parentId":"{parent}"}}'.encode()


def found_in_database(world: World, strings: tuple[str, ...] = STRINGS) -> set[tuple[str, str]]:
    """(table, string) of every string in any column of any table of any schema, also within bytes
    and what they are compressed from.
    """
    wanted = [each.casefold() for each in strings]
    url = libpq_url(world.settings.database_url.get_secret_value())
    found: set[tuple[str, str]] = set()
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT format('%I.%I', nspname, relname) FROM pg_class JOIN pg_namespace AS n"
            " ON n.oid = relnamespace WHERE relkind IN ('r', 'm', 'p', 't')"
            " AND nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
        ).fetchall()
        for (table,) in tables:
            for row in connection.execute(f"SELECT * FROM {table}".encode()):
                text = " ".join(map(_plain, row)).casefold()
                found |= {(table, each) for each in wanted if each in text}
    return found


def _plain(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False, default=str)
    if not isinstance(value, bytes):
        return str(value)
    with contextlib.suppress(zlib.error):
        value = unpack(value)
    return value.decode(errors="replace").replace("\\/", "/") + _json_of(value)


def _json_of(value: bytes) -> str:
    try:
        return json.dumps(json.loads(value), ensure_ascii=False)
    except ValueError:
        return ""


def found_in_files(folder: Path, strings: tuple[str, ...] = STRINGS) -> set[tuple[str, str]]:
    found = set()
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes().decode(errors="replace").casefold()
            found |= {(path.name, each) for each in strings if each.casefold() in content}
    return found
