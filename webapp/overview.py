"""The overview page: rows of the database turned into what its templates print."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy.engine import RowMapping
from sqlalchemy.orm import Session

from core.clock import Clock
from core.models import Shop
from core.models.enums import DeferReason, GateState, MessageState, Segment, SkipReason, SyncState
from core.shops import business_clock
from webapp import queries, words
from webapp.alerts import Troubles, alerts_for
from webapp.contexts import (
    Alert,
    Amount,
    Figure,
    FiguresPart,
    Freshness,
    MessageRow,
    MessagesPart,
    Moment,
    SegmentRow,
    StatusPart,
    SyncRow,
    WelcomeFlow,
)

PERIOD: Final = timedelta(days=30)
SEGMENT_PERIOD: Final = timedelta(days=7)
STALE_AFTER: Final = timedelta(hours=24)
MIN_BUYERS: Final = 5  # below, nobody is scored apart (DESIGN, RFM)
RECENT_MESSAGES: Final = 20
RECENT_SYNCS: Final = 3


@dataclass(frozen=True)
class View:
    """One shop at one moment. `now` is the shop's business time, `real_now` the machine's."""

    session: Session
    shop: Shop
    now: datetime
    real_now: datetime

    @classmethod
    def at(cls, session: Session, shop: Shop, clock: Clock) -> "View":
        return cls(session, shop, business_clock(shop, clock).now(), clock.now())

    def rows(self, name: str, **parameters: Any) -> list[RowMapping]:
        return queries.rows(self.session, name, shop_id=self.shop.shop_id, **parameters)

    def row(self, name: str, **parameters: Any) -> RowMapping:
        return queries.row(self.session, name, shop_id=self.shop.shop_id, **parameters)

    def moment(self, at: datetime) -> Moment:
        return words.moment(at, now=self.now, time_zone=self.shop.time_zone)


# ---------------------------------------------------------------- status


def status_part(view: View) -> StatusPart:
    syncs = view.rows("last_syncs", limit=RECENT_SYNCS)
    troubles = view.row("troubles", since=view.now - PERIOD, real_now=view.real_now)
    freshness = _freshness(view, syncs, troubles["synced_at"])
    known = Troubles(
        sync_error=syncs[0]["error"] or "" if freshness.face == "failed" else None,
        is_stale=freshness.face != "failed" and _is_stale(view, syncs, troubles["synced_at"]),
        inbox_failed=troubles["inbox_failed"],
        messages_unknown=troubles["messages_unknown"],
        paused_reason=troubles["paused_reason"],
        stopped_itself=troubles["stopped_itself"],
    )
    alerts: tuple[Alert, ...] = alerts_for(view.shop, known)
    return StatusPart(
        freshness=freshness,
        alerts=alerts,
        flow=_welcome_flow(view),
        syncs=tuple(_sync_row(view, row) for row in syncs),
    )


def _freshness(view: View, syncs: list[RowMapping], synced_at: datetime | None) -> Freshness:
    last = syncs[0] if syncs else None
    if last is None:
        return Freshness(face="never", text="Never synced", moment=None)
    if last["state"] == SyncState.RUNNING:
        loaded = f"{words.number(last['customers_loaded'])} customers"
        if last["orders_loaded"]:
            loaded = words.plural(last["orders_loaded"], "order")
        return Freshness(
            face="running", text=f"Syncing · {loaded}", moment=view.moment(last["started_at"])
        )
    if last["state"] == SyncState.FAILED:
        moment = view.moment(last["finished_at"] or last["started_at"])
        return Freshness(face="failed", text=f"Sync failed {moment.relative}", moment=moment)
    moment = view.moment(synced_at or last["started_at"])
    face = "stale" if _is_stale(view, syncs, synced_at) else "idle"
    return Freshness(face=face, text=f"Synced {moment.relative}", moment=moment)


def _is_stale(view: View, syncs: list[RowMapping], synced_at: datetime | None) -> bool:
    """Also while one runs: a run whose process died says `running` until the next begins."""
    if not syncs:
        return False
    return view.now - (synced_at or syncs[-1]["started_at"]) > STALE_AFTER


_SYNC_LABELS: Final = {
    SyncState.RUNNING: "Running",
    SyncState.COMPLETED: "Completed",
    SyncState.FAILED: "Failed",
}


def _sync_row(view: View, row: RowMapping) -> SyncRow:
    rejected = row["lines_rejected"]
    end = row["finished_at"] or view.now
    return SyncRow(
        state=row["state"],
        label=f"{_SYNC_LABELS[SyncState(row['state'])]} · {row['kind']}",
        started=view.moment(row["started_at"]),
        took=words.duration(max(end - row["started_at"], timedelta())),
        counts=(
            f"{words.plural(row['customers_loaded'], 'customer')}, "
            f"{words.plural(row['orders_loaded'], 'order')}"
        ),
        rejected=f"{words.plural(rejected, 'line')} could not be read" if rejected else None,
        note=row["error"] or row["warning"],
    )


def _welcome_flow(view: View) -> WelcomeFlow:
    found = view.rows("flow", key="welcome", since=view.now - PERIOD)
    if not found:
        return WelcomeFlow(
            is_known=False,
            is_active=False,
            label="Not set up",
            since=None,
            waiting="0",
            sent="0",
            skipped="0",
        )
    row = found[0]
    switched_on = row["switched_on_at"] if row["is_active"] else None
    return WelcomeFlow(
        is_known=True,
        is_active=row["is_active"],
        label="On" if row["is_active"] else "Off",
        since=view.moment(switched_on) if switched_on else None,
        waiting=words.number(row["waiting"]),
        sent=words.number(row["sent"]),
        skipped=words.number(row["skipped"]),
    )


# ---------------------------------------------------------------- figures and segments


def figures_part(view: View) -> FiguresPart:
    found = view.row(
        "figures",
        since=view.now - PERIOD,
        before=view.now - 2 * PERIOD,
        currency=view.shop.currency,
    )
    segments = _segment_rows(view)
    is_counted = view.shop.first_sync_completed_at is not None or found["customers"] > 0
    shown = _figures(found, view.shop.currency)
    return FiguresPart(
        figures=shown if is_counted else tuple(_uncounted(figure) for figure in shown),
        segments=segments,
        segments_caption=_segments_caption(view),
        note=_foreign_note(found["orders_foreign"], view.shop.currency),
        empty=_why_empty(view, found["buyers"], is_scored=bool(segments)),
    )


def _figures(found: RowMapping, currency: str) -> tuple[Figure, ...]:
    customers, unknown = found["customers"], found["consent_unknown"]
    subscribed = f"{words.share(found['subscribed'], customers)} of customers"
    if unknown:
        subscribed += f" · {unknown:,} not known yet"
    recent = words.money(found["revenue_recent"], currency)
    return (
        _figure(
            "Customers",
            words.count(customers),
            f"{found['customers_recent']:,} new in 30 days",
            (found["customers_recent"], found["customers_before"]),
        ),
        _figure(
            "Buyers",
            words.count(found["buyers"]),
            f"{words.plural(found['buyers_recent'], 'first order')} in 30 days",
            (found["buyers_recent"], found["buyers_before"]),
        ),
        Figure(
            label="Subscribed",
            value=words.count(found["subscribed"]),
            caption=subscribed,
            trend=None,
            trend_hint="",
        ),
        _figure(
            "Orders",
            words.count(found["orders"]),
            f"{found['orders_recent']:,} in 30 days",
            (found["orders_recent"], found["orders_before"]),
        ),
        _figure(
            "Revenue, net of refunds",
            words.money(found["revenue"], currency),
            f"{recent.text} in 30 days",
            (found["revenue_recent"], found["revenue_before"]),
        ),
    )


def _figure(label: str, value: Amount, caption: str, periods: tuple[Any, Any]) -> Figure:
    return Figure(
        label=label,
        value=value,
        caption=caption,
        trend=words.change(*periods),
        trend_hint="last 30 days against the 30 days before",
    )


def _uncounted(figure: Figure) -> Figure:
    return replace(figure, value=None, caption="Counted by the first sync", trend=None)


def _foreign_note(orders: int, currency: str) -> str | None:
    if not orders:
        return None
    return f"Revenue leaves out {words.plural(orders, 'order')} not in {currency}."


def _segment_rows(view: View) -> tuple[SegmentRow, ...]:
    since = view.now - SEGMENT_PERIOD
    found = {row["segment"]: row for row in view.rows("segments", since=since)}
    members = {segment: found[segment]["members"] if segment in found else 0 for segment in Segment}
    total, longest = sum(members.values()), max(members.values())
    if total == 0:
        return ()
    baseline = view.shop.baseline_at
    is_comparable = baseline is not None and baseline <= since
    return tuple(
        _segment_row(
            segment,
            members[segment],
            before=found[segment]["members_before"] if segment in found else 0,
            total=total,
            longest=longest,
            is_comparable=is_comparable,
        )
        for segment in Segment
    )


def _segment_row(
    segment: Segment, members: int, *, before: int, total: int, longest: int, is_comparable: bool
) -> SegmentRow:
    name, hint = words.SEGMENT_NAMES[segment]
    return SegmentRow(
        key=segment.replace("_", "-"),
        name=name,
        hint=hint,
        count=words.number(members),
        share=words.share(members, total),
        width=f"{100 * members / longest:.2f}%",
        change=words.difference(members, before) if is_comparable else "",
        change_hint=(
            f"{words.number(before)} a week ago" if is_comparable else "Known after the first week"
        ),
    )


def _segments_caption(view: View) -> str:
    accepted = [row for row in view.rows("last_rfm_runs") if row["state"] == GateState.ACCEPTED]
    if not accepted:
        return "By recency, frequency and spend"
    moment = view.moment(accepted[0]["computed_at"])
    return f"By recency, frequency and spend · cut-points of {moment.relative}"


def _why_empty(view: View, buyers: int, *, is_scored: bool) -> str | None:
    if view.shop.first_sync_completed_at is None:
        return "Segments appear once the first sync from Shopify is complete."
    if buyers < MIN_BUYERS:
        return (
            f"Scores compare customers who have ordered, and need at least {MIN_BUYERS} of them; "
            f"so far there are {buyers}. Until then nobody changes segment."
        )
    if not is_scored:
        return "Nothing is scored yet. Scores are computed after each sync, within minutes."
    return None


# ---------------------------------------------------------------- messages


def messages_part(view: View) -> MessagesPart:
    found = view.rows("recent_messages", limit=RECENT_MESSAGES)
    return MessagesPart(
        messages=tuple(_message_row(view, row) for row in found),
        empty=(
            "No mail yet. Once the welcome flow is on, a customer's first order brings one here, "
            "with what became of it and why."
        ),
    )


def _message_row(view: View, row: RowMapping) -> MessageRow:
    state = MessageState(row["state"])
    label, tone = words.STATE_NAMES[state]
    name = " ".join(part for part in (row["first_name"], row["last_name"]) if part)
    moved_at = row["finished_at"] or row["delivered_at"] or row["sent_at"] or row["queued_at"]
    return MessageRow(
        at=view.moment(moved_at),
        customer=name or row["email"] or "Deleted customer",
        flow=f"{row['flow'] or 'Flow'}{' · test' if row['is_test'] else ''}",
        subject=row["subject"] or "Not written",
        is_written=row["subject"] is not None,
        state=label,
        tone=tone,
        reason=_message_reason(view, row, state),
    )


def _message_reason(view: View, row: RowMapping, state: MessageState) -> str | None:
    if row["failure"]:
        return str(row["failure"])
    if row["skip_reason"]:
        return words.SKIP_REASONS[SkipReason(row["skip_reason"])]
    if row["defer_reason"] and state == MessageState.QUEUED:
        return words.DEFER_REASONS[DeferReason(row["defer_reason"])]
    if state == MessageState.QUEUED and row["due_at"] > view.now:
        return f"Leaves {view.moment(row['due_at']).relative}"
    if state == MessageState.UNKNOWN:
        return "The provider did not answer; looked up there before anything is sent again"
    return None
