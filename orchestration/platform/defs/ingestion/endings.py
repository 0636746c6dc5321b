"""How a run that did not succeed ends in our own log."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import dagster as dg

from core.database import session_scope
from core.errors import PermanentError, TransientError
from core.ingestion.requests import finish_for_run
from core.ingestion.runs import fail_run_of
from core.models.enums import SyncKind
from core.shops import shop_by_domain
from orchestration.platform.defs.ingestion.requests import FAILED
from orchestration.shared.names import RECONCILE_JOB
from orchestration.shared.runtime import Runtime

PARTITION_TAG: Final = "dagster/partition"
_TRANSIENT: Final = TransientError.__name__
_OURS: Final = (PermanentError.__name__, _TRANSIENT, "Failure")


@dataclass(frozen=True)
class Ending:
    """Why a run did not succeed. `is_turned_away`: if it began nothing, then because another sync
    of the shop was at work, and nothing is wrong.
    """

    words: str
    is_turned_away: bool = False


def ending_of(events: Sequence[dg.DagsterEvent]) -> Ending:
    """Why the step failed. Only our own errors are quoted: others may quote data."""
    for event in events:
        error = event.step_failure_data.error
        while error is not None:
            if error.cls_name in _OURS:
                words = error.message.partition(": ")[2].strip() or FAILED
                return Ending(words, is_turned_away=error.cls_name == _TRANSIENT)
            error = error.cause
    return Ending(FAILED)


def end_failed(runtime: Runtime, run: dg.DagsterRun, ending: Ending) -> None:
    """End the run's sync and the request for it as failed; repeating it changes nothing.

    One that failed before it began gets a failed sync of its own, so that somebody sees it.
    """
    with session_scope(runtime.factory) as session:
        shop = shop_by_domain(session, run.tags.get(PARTITION_TAG, ""))
    fail_run_of(
        runtime.factory,
        run.run_id,
        words=ending.words,
        clock=runtime.clock,
        shop_id=shop.shop_id if shop and not ending.is_turned_away else None,
        kind=_kind(run),
    )
    with session_scope(runtime.factory) as session:
        finish_for_run(session, run.run_id, error=ending.words)


def _kind(run: dg.DagsterRun) -> SyncKind:
    if run.job_name == RECONCILE_JOB:
        return SyncKind.RECONCILE
    config = run.run_config if isinstance(run.run_config, dict) else {}
    asked = config.get("ops", {}).get("shopify_raw", {}).get("config", {}).get("kind")
    return SyncKind.FULL if asked == SyncKind.FULL.value else SyncKind.INCREMENTAL
