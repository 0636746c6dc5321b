from datetime import timedelta
from typing import Any

from core.models.enums import (
    DeferReason,
    MessageState,
    SkipReason,
)
from tests.webapp.builders import add_customer, add_flow, add_message, messages
from webapp.overview import View


def test_each_message_says_what_became_of_it_and_why(view: View) -> None:
    flow = add_flow(view)
    add_customer(view, 1)
    cases: list[tuple[MessageState, dict[str, Any], str | None]] = [
        (MessageState.DELIVERED, {}, None),
        (
            MessageState.SKIPPED,
            {"skip_reason": SkipReason.NOT_SUBSCRIBED},
            "Not subscribed to marketing mail",
        ),
        (
            MessageState.QUEUED,
            {"defer_reason": DeferReason.STALE_DATA},
            "Waits for fresh data",
        ),
        (MessageState.QUEUED, {"due_at": view.now + timedelta(hours=1)}, "Leaves in 1 h"),
        (MessageState.FAILED, {"failure": "550 no such user"}, "550 no such user"),
        (
            MessageState.UNKNOWN,
            {},
            "The provider did not answer; looked up there before anything is sent again",
        ),
    ]
    for position, (state, changes, _) in enumerate(cases):
        at = view.now - timedelta(minutes=position)
        add_message(view, flow, str(position), state, queued_at=at, **changes)
    shown = messages(view).messages
    assert [row.reason for row in shown] == [reason for _, _, reason in cases]
    assert {row.customer for row in shown} == {"Grace Hopper"}
    assert {row.flow for row in shown} == {"Welcome"}


def test_a_message_of_a_deleted_customer_still_shows(view: View) -> None:
    add_message(view, add_flow(view), "1", MessageState.SENT, email=None, customer_id=None)
    assert messages(view).messages[0].customer == "Deleted customer"
