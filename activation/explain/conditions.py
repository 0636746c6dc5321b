"""The conditions of entering a flow, one by one, for one customer.

They say in words what activation/automation/moments.py asks of everybody at once. Nothing but their
tests of each condition holds the two together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from activation.automation.definition import (
    AbandonedCheckout,
    AnyOrder,
    ConsentGiven,
    EnteredSegment,
    FirstOrder,
    Once,
    Silence,
    TagAdded,
    Wait,
)
from activation.automation.holdout import TEST_TAG, is_held_out
from activation.explain import words
from activation.explain.shapes import Finding
from activation.explain.situation import Situation

FIRST: Final = "first"  # entry key of what happens once in a customer's life


@dataclass(frozen=True)
class Considered:
    """All conditions, and the moment and the key that an entry would have, as far as there is one.

    `expected_at`: when they enter if nothing changes, where only time stands in the way.
    """

    findings: tuple[Finding, ...]
    moment_at: datetime | None = None
    entry_key: str | None = None
    expected_at: datetime | None = None

    @property
    def in_the_way(self) -> Finding | None:
        """The first that does not hold."""
        return next((each for each in self.findings if each.holds is False), None)

    def after(self, findings: Sequence[Finding]) -> "Considered":
        """These, told before its own."""
        return replace(self, findings=(*findings, *self.findings))


def consider(situation: Situation) -> Considered:
    """Every condition of the flow, in the order in which they are told."""
    told = _of_trigger(situation)
    if isinstance(situation.definition.entry, Once) and told.entry_key is not None:
        told = replace(told, entry_key=FIRST)
    findings = [*_of_shop(situation), *told.findings]
    if told.moment_at is not None:
        findings += _of_moment(situation, told.moment_at)
        findings.append(_may_enter(situation, told.moment_at, told.entry_key))
    findings.append(_not_held_out(situation))
    considered = replace(told, findings=tuple(findings))
    waits = [each for each in findings if each.holds is False]
    only_time = waits and all(each.at is not None and each.at > situation.now for each in waits)
    last = max((each.at for each in waits if each.at), default=None) if only_time else None
    return replace(considered, expected_at=last)


def _of_shop(situation: Situation) -> Iterator[Finding]:
    flow = situation.flow
    is_ready = flow.is_synced and flow.has_baseline and flow.first_sync_started_at is not None
    yield Finding(
        "shop_is_ready",
        is_ready,
        "the shop's data has been read once and everybody has a segment"
        if is_ready
        else "the first sync with Shopify is not complete yet, and no flow starts before it",
    )
    yield Finding(
        "data_is_accepted",
        not flow.doubts_orders,
        "the shop's data is in doubt; somebody has to look at it before any flow starts"
        if flow.doubts_orders
        else "nothing about the shop's data is in doubt",
    )
    is_on = flow.is_active and flow.switched_on_at is not None
    since = flow.switched_on_at
    if since is not None and is_on:
        yield Finding("flow_is_on", True, f"the flow is on since {_when(situation, since)}", since)
    else:
        yield Finding("flow_is_on", False, "the flow is off")


def _of_moment(situation: Situation, moment: datetime) -> Iterator[Finding]:
    since = situation.flow.switched_on_at
    if since is not None and situation.flow.is_active:
        is_after = moment >= since
        yield Finding(
            "after_switch_on",
            is_after,
            f"it happened on {_when(situation, moment)}, "
            + ("after" if is_after else "before")
            + " the flow was switched on",
            moment,
        )
    due = situation.definition.first_due(moment, situation.flow.zone)
    expires = due + situation.definition.late_after
    in_time = expires >= situation.now
    yield Finding(
        "in_time",
        in_time,
        f"a mail about it may leave until {_when(situation, expires)}"
        if in_time
        else f"a mail about it was of use until {_when(situation, expires)}",
        expires if in_time else None,
    )


def _not_held_out(situation: Situation) -> Finding:
    """They enter all the same, and get no mail: so it is told last."""
    flow, share = situation.flow, situation.definition.holdout_percent
    is_for_tests = TEST_TAG in {tag.casefold() for tag in situation.row.tags}
    held_out = not is_for_tests and is_held_out(flow.domain, flow.key, situation.customer_id, share)
    return Finding(
        "not_held_out",
        not held_out,
        f"they are in the {share} % of customers who get no mail of this flow, to measure it"
        if held_out
        else "they are not held out",
    )


def _may_enter(situation: Situation, moment: datetime, entry_key: str | None) -> Finding:
    """The re-entry rule against every time they entered before."""
    entry = situation.definition.entry
    earlier = [each for each in situation.enrolments if not each.is_test]
    same = next((each for each in earlier if each.entry_key == entry_key), None)
    if same is not None:
        return Finding(
            "may_enter_again",
            False,
            f"they entered for this on {_when(situation, same.enrolled_at)}",
        )
    if not earlier:
        return Finding("may_enter_again", True, "they never entered this flow")
    if isinstance(entry, Once):
        return Finding("may_enter_again", False, "it is once in a customer's life, and they had it")
    last = max(each.moment_at for each in earlier)
    free = last + timedelta(days=entry.after_days)
    if moment < free:
        return Finding(
            "may_enter_again",
            False,
            f"not within {words.number(entry.after_days, 'day')} of the last time, "
            f"which was on {_when(situation, last)}",
            None,
        )
    return Finding("may_enter_again", True, f"the last time was on {_when(situation, last)}")


def _order(
    situation: Situation, order_id: int | None, at: datetime | None, *, is_first: bool
) -> Considered:
    if at is None:
        return Considered((Finding("has_ordered", False, "they have no order that counts"),))
    name = "their first order" if is_first else "their last order"
    findings = [Finding("has_ordered", True, f"{name} was on {_when(situation, at)}", at)]
    began = situation.flow.first_sync_started_at
    is_historical = began is not None and at < began
    findings.append(
        Finding(
            "not_historical",
            not is_historical,
            f"{name} was before EcomCRM was connected, and such orders start no flow"
            if is_historical
            else f"{name} was after EcomCRM was connected",
        )
    )
    return Considered(tuple(findings), at, str(order_id))


def _first_order(situation: Situation) -> Considered:
    row = situation.row
    told = _order(situation, row.first_order_id, row.first_order_at, is_first=True)
    if situation.flow.knows_all_orders:
        return told
    blind = Finding(
        "orders_are_known",
        False,
        "the app may read orders of the last 60 days only, so nobody's first order is known; "
        "give it the scope read_all_orders",
    )
    return replace(told, findings=(blind, *told.findings))


def _any_order(situation: Situation) -> Considered:
    row = situation.row
    return _order(situation, row.last_order_id, row.last_order_at, is_first=False)


def _segment(situation: Situation, wanted: tuple[str, ...]) -> Finding:
    row = situation.row
    if row.segment is None:
        return Finding("in_segment", False, "they are in no segment yet")
    since = _when(situation, row.entered_at)
    name = row.segment.replace("_", " ")
    if wanted and row.segment not in wanted:
        said = f"they are in the segment {name} since {since}, not in {words.names(wanted)}"
        return Finding("in_segment", False, said)
    return Finding(
        "in_segment", True, f"they are in the segment {name} since {since}", row.entered_at
    )


def _entered_segment(situation: Situation, trigger: EnteredSegment) -> Considered:
    row = situation.row
    found = _segment(situation, tuple(each.value for each in trigger.segments))
    if not found.holds:
        return Considered((found,))
    moved = row.previous_segment is not None
    entered = Finding(
        "moved_there",
        moved,
        f"they came from {row.previous_segment.replace('_', ' ')}"
        if moved
        else "it is the first segment they were known in, so they did not enter it",
    )
    key = row.entered_at.astimezone(UTC).isoformat(timespec="microseconds")
    return Considered((found, entered), row.entered_at if moved else None, key)


def _silence(situation: Situation, trigger: Silence) -> Considered:
    row = situation.row
    zone, now = situation.flow.zone, situation.now
    if row.last_order_at is None:
        return Considered((Finding("has_ordered", False, "they have no order that counts"),))
    silent_at = Wait("silence", days=trigger.days).ends(row.last_order_at, zone)
    days = (now.astimezone(zone).date() - row.last_order_at.astimezone(zone).date()).days
    is_silent = silent_at <= now
    last = f"their last order was on {_when(situation, row.last_order_at)}"
    silent = Finding(
        "silent_long_enough",
        is_silent,
        f"{last}, {words.number(days, 'day')} ago; it takes {trigger.days}"
        + ("" if is_silent else f", which will be so on {_when(situation, silent_at)}"),
        silent_at,
    )
    ordered = Finding("has_ordered", True, last, row.last_order_at)
    found = _segment(situation, tuple(each.value for each in trigger.segments))
    findings = (ordered, silent, found)
    if not found.holds:
        return Considered(findings)
    moment = max(silent_at, row.entered_at) if trigger.segments else silent_at
    return Considered(findings, moment, str(row.last_order_id))


def _checkout(situation: Situation) -> Considered:
    row, now = situation.row, situation.now
    if row.checkout_key is None:
        said = "they began no checkout with their address"
        return Considered((Finding("has_checkout", False, said),))
    at = row.checkout_at
    begun = Finding("has_checkout", True, f"their last checkout was on {_when(situation, at)}", at)
    if row.ordered_at is not None:
        said = f"they ordered on {_when(situation, row.ordered_at)}"
        return Considered((begun, Finding("not_ordered_since", False, said)))
    open_still = Finding("not_ordered_since", True, "they have not ordered since")
    due = situation.definition.first_due(at, situation.flow.zone)
    is_left = due <= now
    left = Finding(
        "left_for_long_enough",
        is_left,
        "they have not come back to it for long enough"
        if is_left
        else f"they may come back to it until {_when(situation, due)}",
        due,
    )
    return Considered((begun, open_still, left), at, row.checkout_key)


def _tag(situation: Situation, trigger: TagAdded) -> Considered:
    has_tag = trigger.tag.casefold() in {each.casefold() for each in situation.row.tags}
    said = f"the customer {'has' if has_tag else 'does not have'} the tag {trigger.tag}"
    return Considered((Finding("has_tag", has_tag, said),))


def _consent() -> Considered:
    said = "this mail goes to whoever subscribes and has to confirm it; nobody enters the flow"
    return Considered((Finding("nobody_enters", False, said),))


def _when(situation: Situation, at: datetime) -> str:
    return words.when(at, situation.flow.zone)


def _of_trigger(situation: Situation) -> Considered:
    match situation.definition.trigger:
        case FirstOrder():
            told = _first_order(situation)
        case AnyOrder():
            told = _any_order(situation)
        case EnteredSegment() as trigger:
            told = _entered_segment(situation, trigger)
        case Silence() as trigger:
            told = _silence(situation, trigger)
        case AbandonedCheckout():
            told = _checkout(situation)
        case TagAdded() as trigger:
            told = _tag(situation, trigger)
        case ConsentGiven():
            told = _consent()
    return told
