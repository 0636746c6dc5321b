"""Who is in which segment: accepted boundaries become membership changes."""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg
from sqlalchemy.exc import DBAPIError

from activation.history import Flaps, flaps
from activation.scoring import ScoringReport, decide_and_apply
from activation.standing import Boundary, SegmentStanding, read_boundaries, read_segments
from core.database import session_scope
from core.errors import EcomCRMError
from core.models import SegmentMembership, Shop
from core.shops import all_shops, business_clock
from orchestration.shared.columns import table_metadata
from orchestration.shared.names import CUSTOMER_SEGMENTS, OWNERS, SEGMENT_MEMBERSHIPS, SEGMENTATION
from orchestration.shared.runtime import Runtime

FLAPS_OVER = timedelta(days=30)


@dataclass(frozen=True)
class _Done:
    """What became of one shop."""

    report: ScoringReport
    segments: list[SegmentStanding]
    boundaries: list[Boundary]
    flaps: Flaps
    seconds: float


@dg.asset(
    key=SEGMENT_MEMBERSHIPS,
    deps=[CUSTOMER_SEGMENTS],
    group_name=SEGMENTATION,
    kinds={"postgres"},
    owners=OWNERS,
    metadata=table_metadata(SegmentMembership),
    description="One row per stay of a customer in a segment. A full run whose boundaries the data "
    "gate accepted moves everyone; between full runs an order moves its customer within seconds.",
    # A database that restarts at night costs half a minute, not a day; a run that was decided
    # keeps its decision, so going over all shops again repeats nothing.
    retry_policy=dg.RetryPolicy(max_retries=2, delay=30, backoff=dg.Backoff.EXPONENTIAL),
)
def segment_memberships(
    context: dg.AssetExecutionContext, runtime: Runtime
) -> dg.MaterializeResult:  # type: ignore[type-arg]  # generic over an in-memory value
    done: dict[str, _Done] = {}
    failures: dict[str, str] = {}
    with session_scope(runtime.factory) as session:
        shops = all_shops(session)
    for shop in shops:
        try:
            done[shop.domain] = _score(runtime, shop, context.run_id)
        # One shop's trouble must not keep the others from their segments.
        except EcomCRMError as error:
            context.log.exception("%s", shop.domain)
            failures[shop.domain] = str(error)
        except DBAPIError as error:
            # Its words may hold customers' data; the class does not.
            failures[shop.domain] = f"database: {type(error.orig).__name__}"
            context.log.error("%s: %s", shop.domain, failures[shop.domain])  # noqa: TRY400
    for domain, each in done.items():
        if each.report.reason:
            context.log.warning("%s: boundaries held: %s", domain, each.report.reason)
    if failures:
        raise dg.Failure("Segments of some shops were not applied.", metadata={**failures})
    return dg.MaterializeResult(metadata=_metadata(done))


def _score(runtime: Runtime, shop: Shop, run_id: str) -> _Done:
    now = business_clock(shop, runtime.clock).now()
    began = time.monotonic()
    report = decide_and_apply(
        runtime.factory, shop_id=shop.shop_id, rfm_run_id=run_id, now=now, run_id=run_id
    )
    seconds = time.monotonic() - began
    with session_scope(runtime.factory) as session:
        return _Done(
            report,
            read_segments(session, shop.shop_id, at=now),
            read_boundaries(session, shop.shop_id, run_id),
            flaps(session, shop.shop_id, since=now - FLAPS_OVER, until=_after(now)),
            seconds,
        )


def _after(now: datetime) -> datetime:
    """Moves of this very run count."""
    return now + timedelta(microseconds=1)


def _metadata(done: dict[str, _Done]) -> dict[str, dg.MetadataValue]:
    reports = [each.report for each in done.values()]
    moves = sum(each.flaps.moves for each in done.values())
    returns = sum(each.flaps.returns for each in done.values())
    counts = {
        "shops": len(done),
        "held": sum(bool(report.reason) for report in reports),
        "customers": sum(report.customers for report in reports),
        "buyers": sum(report.buyers for report in reports),
        "orders": sum(report.orders for report in reports),
        "entered": sum(report.entered for report in reports),
        "exited": sum(report.exited for report in reports),
        "moves_in_30_days": moves,
        "moves_back_within_a_week": returns,
    }
    return {
        **{name: dg.MetadataValue.int(number) for name, number in counts.items()},
        "flap_rate": dg.MetadataValue.float(round(Flaps(moves, returns).rate, 4)),
        "seconds": dg.MetadataValue.float(round(sum(each.seconds for each in done.values()), 3)),
        **_members(done),
        "by_shop": _shops_table(done),
        "segments": _segments_table(done),
        "boundaries": _boundaries_table(done),
    }


def _members(done: dict[str, _Done]) -> dict[str, dg.MetadataValue]:
    """A number per segment over all shops: numbers are what Dagster plots over time."""
    totals: dict[str, int] = {}
    for each in done.values():
        for row in each.segments:
            totals[row.segment.value] = totals.get(row.segment.value, 0) + row.members
    return {f"members_{name}": dg.MetadataValue.int(total) for name, total in totals.items()}


def _shops_table(done: dict[str, _Done]) -> dg.MetadataValue:
    names = ("shop", "gate", "reason", "customers", "buyers", "orders", "moved", "entered")
    more = ("exited", "is_baseline", "flap_rate", "seconds")
    return _table(
        (*names, *more),
        [
            (
                *(domain, each.report.state.value, each.report.reason or ""),
                *(each.report.customers, each.report.buyers, each.report.orders),
                "" if each.report.moved is None else each.report.moved,
                *(each.report.entered, each.report.exited, each.report.baseline),
                *(round(each.flaps.rate, 4), round(each.seconds, 3)),
            )
            for domain, each in done.items()
        ],
    )


def _segments_table(done: dict[str, _Done]) -> dg.MetadataValue:
    return _table(
        ("shop", "segment", "members", "entered", "exited"),
        [
            (domain, row.segment.value, row.members, row.entered, row.exited)
            for domain, each in done.items()
            for row in each.segments
        ],
    )


def _boundaries_table(done: dict[str, _Done]) -> dg.MetadataValue:
    """Of this run; they are in force only where the gate accepted them."""
    return _table(
        ("shop", "gate", "dimension", "score", "from"),
        [
            (domain, each.report.state.value, row.dimension, row.score, row.words)
            for domain, each in done.items()
            for row in each.boundaries
        ],
    )


def _table(
    columns: tuple[str, ...], rows: list[tuple[str | int | float | bool, ...]]
) -> dg.MetadataValue:
    return dg.MetadataValue.table(
        [dg.TableRecord(dict(zip(columns, row, strict=True))) for row in rows],
        schema=dg.TableSchema([dg.TableColumn(name) for name in columns]),
    )
