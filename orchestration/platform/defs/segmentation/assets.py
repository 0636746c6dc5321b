"""Who is in which segment: accepted boundaries become membership changes."""

import dagster as dg
from sqlalchemy.exc import DBAPIError

from activation.scoring import ScoringReport, decide_and_apply
from core.database import session_scope
from core.errors import EcomCRMError
from core.shops import all_shops, business_clock
from orchestration.shared.names import CUSTOMER_SEGMENTS, OWNERS, SEGMENT_MEMBERSHIPS, SEGMENTATION
from orchestration.shared.runtime import Runtime


@dg.asset(
    key=SEGMENT_MEMBERSHIPS,
    deps=[CUSTOMER_SEGMENTS],
    group_name=SEGMENTATION,
    kinds={"postgres"},
    owners=OWNERS,
    description="One row per stay of a customer in a segment; changed only by accepted boundaries.",
)
def segment_memberships(
    context: dg.AssetExecutionContext, runtime: Runtime
) -> dg.MaterializeResult:  # type: ignore[type-arg]  # generic over an in-memory value
    reports: dict[str, ScoringReport] = {}
    failures: dict[str, str] = {}
    with session_scope(runtime.factory) as session:
        shops = all_shops(session)
    for shop in shops:
        try:
            reports[shop.domain] = decide_and_apply(
                runtime.factory,
                shop_id=shop.shop_id,
                rfm_run_id=context.run_id,
                now=business_clock(shop, runtime.clock).now(),
                run_id=context.run_id,
            )
        # One shop's trouble must not keep the others from their segments.
        except EcomCRMError as error:
            context.log.exception("%s", shop.domain)
            failures[shop.domain] = str(error)
        except DBAPIError as error:
            # Its words may hold customers' data; the class does not.
            failures[shop.domain] = f"database: {type(error.orig).__name__}"
            context.log.error("%s: %s", shop.domain, failures[shop.domain])  # noqa: TRY400
    for domain, report in reports.items():
        if report.reason:
            context.log.warning("%s: boundaries held: %s", domain, report.reason)
    if failures:
        raise dg.Failure("Segments of some shops were not applied.", metadata={**failures})
    return dg.MaterializeResult(
        metadata={
            "shops": len(reports),
            "held": sum(bool(report.reason) for report in reports.values()),
            "customers": sum(report.customers for report in reports.values()),
            "entered": sum(report.entered for report in reports.values()),
            "exited": sum(report.exited for report in reports.values()),
        }
    )
