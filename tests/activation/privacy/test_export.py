"""The answer to a data request: all of it, and nobody else."""

import json
from datetime import timedelta
from typing import Any

import pytest

from activation.privacy.holdings import HOLDINGS
from activation.privacy.requests import export_of_request, list_requests
from activation.privacy.work import Privacy, work_due
from core.database import session_scope
from core.models.enums import PrivacyKind, PrivacyState
from tests.activation.privacy.people import (
    ADA,
    EMAIL,
    FORMER_EMAIL,
    OTHERS,
    STRINGS,
    ask,
    request_of,
    settle,
    subject,
    traces,
)
from tests.activation.world import World


def work(world: World) -> Any:
    return work_due(Privacy(world.factory, world.settings, world.clock))


def exported(world: World, request_id: int) -> dict[str, Any]:
    with session_scope(world.factory) as session:
        export = export_of_request(session, request_id)
    assert export is not None
    return export


@pytest.fixture
def request_id(world: World) -> int:
    traces(world)
    request_id = ask(world, PrivacyKind.DATA_REQUEST, subject())
    work(world)
    return request_id


@pytest.mark.requirement("SHOP-07")
def test_an_export_has_rows_of_every_table_that_holds_the_person(
    world: World, request_id: int
) -> None:
    export = exported(world, request_id)
    assert set(export["tables"]) == {
        *(holding.table for holding in HOLDINGS),
        "marts.customers",
    } - {"crm.privacy_requests"}
    assert [name for name, rows in export["tables"].items() if not rows] == []
    assert len(export["webhooks"]) == 11
    text = json.dumps(export, ensure_ascii=False).casefold()
    assert [string for string in STRINGS if string.casefold() not in text] == []
    [customer] = [
        row for row in export["tables"]["raw_shopify.customers"] if row["customer_id"] == ADA
    ]
    assert (customer["email"], customer["tags"]) == (EMAIL, ["vip"])
    assert {row["email"] for row in export["tables"]["crm.messages"]} == {EMAIL, FORMER_EMAIL}


@pytest.mark.requirement("SHOP-07")
def test_an_export_names_nobody_else(world: World, request_id: int) -> None:
    text = json.dumps(exported(world, request_id))
    assert not any(str(other) in text or f"c{other}@" in text for other in OTHERS)


@pytest.mark.requirement("SHOP-07")
def test_an_export_leaves_the_shop_as_it_was(world: World, request_id: int) -> None:
    request = request_of(world, request_id)
    assert request.state is PrivacyState.COMPLETED
    assert request.finished_at == world.now
    assert request.receipt is not None
    assert request.receipt["rows"]["raw_shopify.orders"] == 3
    world.run_cleanly()


@pytest.mark.requirement("SHOP-07")
def test_an_export_is_erased_with_the_person(world: World, request_id: int) -> None:
    ask(world, PrivacyKind.CUSTOMER_REDACT, {"email": EMAIL}, webhook="w-2")
    work(world)
    settle(world)
    work(world)
    request = request_of(world, request_id)
    assert (request.export, request.subject) == (None, None)
    assert request.state is PrivacyState.COMPLETED


@pytest.mark.requirement("SHOP-07")
def test_whom_it_was_about_goes_with_the_answer(world: World, request_id: int) -> None:
    """Retention removes the answer alone; the subject with its address stayed for ever."""
    work(world)
    assert request_of(world, request_id).subject is not None
    world.execute("UPDATE crm.privacy_requests SET export = NULL")
    work(world)
    assert request_of(world, request_id).subject is None


@pytest.mark.requirement("SHOP-07")
def test_of_an_erased_person_an_export_says_only_that(world: World) -> None:
    traces(world)
    ask(world, PrivacyKind.CUSTOMER_REDACT, subject())
    work(world)
    settle(world)
    work(world)
    later = ask(world, PrivacyKind.DATA_REQUEST, subject(), webhook="w-2")
    work(world)
    assert exported(world, later) == {"made_at": world.now.isoformat(), "erased": True}
    assert request_of(world, later).subject is None


@pytest.mark.requirement("SHOP-07")
def test_of_somebody_unknown_an_export_is_empty(world: World) -> None:
    request_id = ask(world, PrivacyKind.DATA_REQUEST, {"customer_id": 99})
    work(world)
    export = exported(world, request_id)
    assert [rows for rows in export["tables"].values() if rows] == []
    assert export["webhooks"] == []


@pytest.mark.requirement("SHOP-07")
def test_requests_are_listed_with_what_is_due_first(world: World) -> None:
    done = ask(world, PrivacyKind.DATA_REQUEST, {"customer_id": 99})
    work(world)
    late = ask(world, PrivacyKind.CUSTOMER_REDACT, {"customer_id": 1}, webhook="w-2")
    with session_scope(world.factory) as session:
        shown = list_requests(session, now=world.now + timedelta(days=3, hours=1))
    assert [(each.request_id, each.days_left) for each in shown] == [(late, 26), (done, None)]
    assert shown[0].shop.endswith(".myshopify.com")
