"""Decisions on many mails are those that the checks make, one by one."""

from collections import Counter, namedtuple
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activation.eligibility import Decision, Send, Stage, Subject, decide
from activation.eligibility.batch import decide_known
from activation.eligibility.facts import FINE, Known, load_facts, read_known
from activation.eligibility.reading import READ_FACTS
from activation.freshness import Freshness
from core.database import session_scope
from core.models.enums import ConsentState, DeferReason, ExitReason, GateCheck
from tests.activation.world import World

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
EARLIER, LATER = NOW - timedelta(days=1), NOW + timedelta(days=1)
BEFORE = (
    "key",
    "customer_id",
    "automation_id",
    "trigger_type",
    "is_capped",
    "keeps_quiet_hours",
    "email",
    "email_normalized",
    "has_valid_email",
    "consent_updated_at",
    "refresh_attempts",
    "counted",
)
COLUMNS = [*BEFORE, *FINE]
make: Any = namedtuple  # its columns are not known beforehand  # noqa: PYI024
row_of = make("row_of", COLUMNS)
TRIGGERS = {1: "first_order", 2: "silence", 3: "consent_given"}
ADDRESSES = ("anna@example.com", "bea@example.com", "anna")


class Erased:
    """Whoever has this number or address was erased."""

    def is_erased_customer(self, customer_id: int) -> bool:
        return customer_id == 1

    def is_erased_email(self, email: str | None) -> bool:
        return email == "bea@example.com"


def mostly(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    """Fine so often that most mails of a batch are."""
    return st.sampled_from([usual] * 12 + list(others))


rows = st.builds(
    lambda automation_id, address, **said: row_of(
        key=0,
        automation_id=automation_id,
        trigger_type=TRIGGERS[automation_id],
        is_capped=None,
        keeps_quiet_hours=None,
        email=address,
        email_normalized=(address or "").strip() or None,
        **said,
    ),
    automation_id=st.sampled_from([1, 1, 2, 3]),
    address=st.sampled_from([*ADDRESSES, " anna@example.com ", "", None]),
    customer_id=mostly(2, 1, None),
    has_valid_email=st.sampled_from([None, True, True, False]),
    consent_updated_at=st.sampled_from([None, EARLIER, NOW]),
    refresh_attempts=st.integers(0, 3),
    counted=mostly([], None, [NOW], [NOW - timedelta(hours=20)], [NOW - timedelta(hours=19)]),
    automation_is_active=mostly(True, False),
    entry_holds=mostly(True, False),
    customer_is_known=mostly(True, False),
    customer_is_deleted=mostly(False, True),
    customer_is_merging=mostly(False, True),
    consent_state=mostly(
        ConsentState.SUBSCRIBED.value, None, *[each.value for each in ConsentState]
    ),
    must_confirm=mostly(False, True),
    has_opted_out=mostly(False, True),
    unsubscribed_at=mostly(None, EARLIER),
    is_suppressed=mostly(False, True),
    refresh_is_open=mostly(False, True),
    refresh_is_given_up=mostly(False, True),
    mails_before=mostly(0, 1),
)
subjects = st.builds(
    Subject,
    key=st.just(0),
    customer_id=st.none(),
    automation_id=st.just(0),
    order_id=st.none(),
    expires_at=mostly(LATER, EARLIER, NOW),
    due_at=st.sampled_from([None, EARLIER, NOW]),
    priority=st.integers(1, 3),
    waits_for=mostly(None, *DeferReason),
    is_test=mostly(False, True),
)
shops = st.builds(
    SimpleNamespace,
    has_postal_address=mostly(True, False),
    sender_address=mostly("hello@mail.example.com", None),
    is_disconnected=mostly(False, True),
    is_held=mostly(False, True),
    held_check=st.sampled_from([None, *GateCheck]),
    shop_zone=st.just("UTC"),
    paused_until=mostly(None, LATER),
    has_rules=st.just(True),
    short_cap_mails=mostly(1, None),
    short_cap_hours=st.just(20),
    long_cap_mails=mostly(4, None),
    long_cap_days=st.just(7),
    quiet_from=mostly(time(21), time(11)),
    quiet_until=mostly(time(8), time(13)),
    time_zone=st.none(),
)
around = st.fixed_dictionaries(
    {
        "shop": shops,
        "freshness": st.builds(Freshness, mostly(False, True), st.booleans()),
        "screen": mostly(None, Erased()),
        "turns": st.sampled_from([None, {}, {0: ADDRESSES[0], 1: ADDRESSES[1], 2: "another"}]),
        "exits": mostly({}, {0: ExitReason.ORDERED, 2: ExitReason.LEFT_SEGMENTS}),
    }
)
batches = st.lists(st.tuples(rows, subjects), max_size=8)


def numbered(pairs: Sequence[tuple[Any, Subject]]) -> tuple[list[Any], list[Subject]]:
    return (
        [row._replace(key=key) for key, (row, _) in enumerate(pairs)],
        [replace(subject, key=key) for key, (_, subject) in enumerate(pairs)],
    )


def one_by_one(known: Known, asked: Sequence[Subject], *, is_in_turn: bool) -> dict[int, Decision]:
    """In plain words, by the checks alone."""
    leaving: Counter[str] = Counter()
    decisions = {}
    if is_in_turn:
        asked = sorted(asked, key=lambda each: (each.priority, each.due_at or NOW, each.key))
    for subject in asked:
        facts = known.facts_of(known.rows[subject.key], subject)
        address = facts.email_normalized or ""
        if is_in_turn:
            facts = replace(facts, counted=(*facts.counted, *[NOW] * leaving[address]))
        decisions[subject.key] = decide(facts, now=NOW)
        if isinstance(decisions[subject.key], Send) and not subject.is_test:
            leaving[address] += 1
    return decisions


@pytest.mark.requirement("EMAIL-01", "EMAIL-02", "EMAIL-03")
@given(batches, around, st.booleans())
def test_what_is_decided_at_once_is_what_the_checks_decide(
    pairs: list[tuple[Any, Subject]], shop: dict[str, Any], is_in_turn: bool
) -> None:
    read, asked = numbered(pairs)
    known = Known(rows=read, **shop)
    decided = decide_known(known, asked, now=NOW, is_in_turn=is_in_turn)
    assert decided == one_by_one(known, asked, is_in_turn=is_in_turn)


@pytest.mark.requirement("EMAIL-02")
def test_the_statement_says_in_its_last_columns_what_is_fine(world: World) -> None:
    """They are compared by their places."""
    world.buyers([1])
    with session_scope(world.factory) as session:
        asked = [Subject(1, 1, 1, None, expires_at=world.now + timedelta(days=1))]
        known = read_known(
            session,
            world.shop_id,
            asked,
            secret_key=world.settings.secret_key,
            now=world.now,
            stage=Stage.ATTEMPT,
        )
        assert "mails_before" in READ_FACTS.text
        (row,) = known.rows
        assert row._fields == tuple(COLUMNS)
        assert known.is_fine(row, asked[0], now=world.now)
        assert (
            load_facts(
                session, world.shop_id, [], secret_key=world.settings.secret_key, now=world.now
            )
            == {}
        )
