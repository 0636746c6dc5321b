"""The ledger as a lawyer gets it."""

import csv
import io
import json

import pytest

from activation.consent.exporting import COLUMNS, as_csv, as_json, read_events
from activation.consent.ledger import Act, Change, record
from core.database import session_scope
from core.models.enums import ConsentSource
from tests.activation.consent.shop import S, flow_of
from tests.activation.world import World

pytestmark = pytest.mark.requirement("SHOP-07")


@pytest.fixture
def full(shop: World) -> World:
    act = Act(ConsentSource.PAGE, "page/1", 'Say "yes", please', ip="203.0.113.7")
    with session_scope(shop.factory) as session:
        for email, words in (("a@example.com", "=1+1"), ("b@example.com", None)):
            change = Change(
                shop_id=shop.shop_id,
                email_normalized=email,
                state_before=S.SUBSCRIBED,
                state_after=S.UNSUBSCRIBED,
                occurred_at=shop.now,
                automation_id=flow_of(shop),
            )
            record(session, Act(**(vars(act) | {"reason_text": words})), [change])
    return shop


def test_csv_has_a_header_every_column_and_no_formulas(full: World) -> None:
    with session_scope(full.factory) as session:
        text = "".join(as_csv(read_events(session, full.shop_id)))
    first, second = csv.DictReader(io.StringIO(text))
    assert tuple(first) == COLUMNS
    assert (first["email"], first["flow"], first["state_after"]) == (
        "a@example.com",
        "welcome",
        "UNSUBSCRIBED",
    )
    assert first["wording"] == 'Say "yes", please'
    assert (first["reason_text"], second["reason_text"]) == ("'=1+1", "")
    assert first["occurred_at"] == full.now.isoformat()


def test_json_is_one_object_a_line_and_can_be_of_one_address(full: World) -> None:
    with session_scope(full.factory) as session:
        lines = list(as_json(read_events(session, full.shop_id, email=" B@Example.com")))
    [event] = map(json.loads, lines)
    assert (event["email"], event["reason_text"], event["ip"]) == (
        "b@example.com",
        None,
        "203.0.113.7",
    )


def test_another_shops_ledger_is_not_in_it(full: World) -> None:
    other = full.add_shop()
    with session_scope(full.factory) as session:
        assert list(read_events(session, other)) == []
