"""The activation run: everything that is due, in one run for all shops."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType
from typing import TypeAlias

import dagster as dg

from activation.cycle import Cycle, run_due
from activation.liveness import hold
from activation.outbox.crew import SENDERS
from activation.outbox.pacing import pace_of
from activation.provider.choice import provider_of
from core.models import Enrollment, Message, PrivacyRequest, WriteBack
from orchestration.shared.columns import table_metadata
from orchestration.shared.names import (
    DELIVERY,
    ENROLLMENTS,
    MESSAGES,
    OWNERS,
    PRIVACY_REQUESTS,
    SEGMENT_MEMBERSHIPS,
    WRITE_BACKS,
)
from orchestration.shared.runtime import Runtime

_KINDS = {"postgres"}

Counts: TypeAlias = dict[str, int | float]


@dg.multi_asset(
    name="activation",
    group_name=DELIVERY,
    specs=[
        dg.AssetSpec(
            ENROLLMENTS,
            deps=[SEGMENT_MEMBERSHIPS],
            description="One row per customer, automation and entry key.",
            kinds=_KINDS,
            owners=OWNERS,
            metadata=table_metadata(Enrollment),
        ),
        dg.AssetSpec(
            MESSAGES,
            deps=[ENROLLMENTS],
            description="The ledger: one row per message owed, sent or skipped, with its reason.",
            kinds=_KINDS | {"resend"},
            owners=OWNERS,
            metadata=table_metadata(Message),
        ),
        dg.AssetSpec(
            WRITE_BACKS,
            deps=[ENROLLMENTS],
            description="One row per tag or consent that Shopify is to be told of.",
            kinds=_KINDS | {"shopify"},
            owners=OWNERS,
            metadata=table_metadata(WriteBack),
        ),
        dg.AssetSpec(
            PRIVACY_REQUESTS,
            description="One row per request of a compliance webhook: exports and erasures.",
            kinds=_KINDS,
            owners=OWNERS,
            metadata=table_metadata(PrivacyRequest),
        ),
    ],
)
def activation(
    context: dg.AssetExecutionContext, runtime: Runtime
) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]  # generic over an in-memory value
    with hold(runtime.settings.listen_url) as alone, _stop_on_signal() as stop:
        if not alone:
            # The other run does everything due, this run's work included.
            context.log.info("Another activation run is at work.")
            counts: Counts = {}
        else:
            counts = _run(context, runtime, stop)
            _tell_memberships(context, counts)
    for key in (ENROLLMENTS, MESSAGES, WRITE_BACKS, PRIVACY_REQUESTS):
        yield dg.MaterializeResult(asset_key=key, metadata={**counts})


def _tell_memberships(context: dg.AssetExecutionContext, counts: Counts) -> None:
    """What orders moved, on the page of the memberships; they are the other code location's."""
    told = {name: counts[name] for name in ("memberships_opened", "memberships_closed")}
    if any(told.values()) or counts["shops_held"]:
        about = {**told, "shops_held": counts["shops_held"], "seconds": counts["seconds"]}
        context.log_event(dg.AssetObservation(SEGMENT_MEMBERSHIPS, metadata=about))


def _run(
    context: dg.AssetExecutionContext, runtime: Runtime, stop: Event
) -> dict[str, int | float]:
    began = time.monotonic()
    with provider_of(runtime.settings) as provider:
        report = run_due(
            Cycle(
                factory=runtime.factory,
                settings=runtime.settings,
                clock=runtime.clock,
                provider=provider,
                client_of=runtime.client_of,
                run_id=context.run_id,
                stop=stop.is_set,
                at_once=pace_of(runtime.settings, provider).batches_at_once,
                senders=SENDERS,
            )
        )
    counts = report.counts()
    context.log.info("%s", ", ".join(f"{name} {n}" for name, n in counts.items() if n) or "idle")
    return {**counts, "seconds": round(time.monotonic() - began, 3)}


@contextmanager
def _stop_on_signal() -> Iterator[Event]:
    """SIGINT and SIGTERM end the run between two pieces of work instead of inside one.

    Dagster's own handling raises in the middle of whatever runs, even an open transaction.
    """
    stop = Event()

    def ask_to_stop(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, ask_to_stop) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_SIGNALS = (signal.SIGINT, signal.SIGTERM)
