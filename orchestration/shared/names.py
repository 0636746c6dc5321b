"""Names that both code locations and their callers share."""

from typing import Final

import dagster as dg

OWNERS: Final = ["team:ecomcrm"]

INGESTION: Final = "ingestion"
TRANSFORMATION: Final = "transformation"
SEGMENTATION: Final = "segmentation"
DELIVERY: Final = "delivery"
MAINTENANCE: Final = "maintenance"

RAW_CUSTOMERS: Final = dg.AssetKey(["raw_shopify", "customers"])
RAW_ORDERS: Final = dg.AssetKey(["raw_shopify", "orders"])
RAW_ORDER_LINES: Final = dg.AssetKey(["raw_shopify", "order_lines"])
RAW_REFUNDS: Final = dg.AssetKey(["raw_shopify", "refunds"])
RAW_CHECKOUTS: Final = dg.AssetKey(["raw_shopify", "checkouts"])
RAW_PRODUCTS: Final = dg.AssetKey(["raw_shopify", "products"])
RAW_STATISTICS: Final = dg.AssetKey(["raw_shopify", "customer_statistics"])
RECONCILIATION: Final = dg.AssetKey(["raw_shopify", "reconciliation"])
STATISTICS_REPAIR: Final = dg.AssetKey(["raw_shopify", "statistics_repair"])
WEBHOOK_SUBSCRIPTIONS: Final = dg.AssetKey(["shopify", "webhook_subscriptions"])
RETENTION: Final = dg.AssetKey(["crm", "retention"])
SUPPRESSION_MIRROR: Final = dg.AssetKey(["crm", "suppression_mirror"])
DATA_HEALTH: Final = dg.AssetKey(["marts", "data_health"])
DATA_DOCS: Final = dg.AssetKey(["docs", "data_docs"])
CUSTOMER_SEGMENTS: Final = dg.AssetKey(["marts", "customer_segments"])
SEGMENT_MEMBERSHIPS: Final = dg.AssetKey(["crm", "segment_memberships"])
ENROLLMENTS: Final = dg.AssetKey(["crm", "enrollments"])
MESSAGES: Final = dg.AssetKey(["crm", "messages"])
WRITE_BACKS: Final = dg.AssetKey(["crm", "write_backs"])
PRIVACY_REQUESTS: Final = dg.AssetKey(["crm", "privacy_requests"])

# On a run that a person asked for: which sync request, as `shop_id/sync_request_id`.
REQUEST_TAG: Final = "ecomcrm/sync_request"
# On a build of reports: which decisions on segments it tells of.
DECISIONS_TAG: Final = "ecomcrm/decisions"

SHOPS_PARTITIONS: Final = "shops"
SYNC_JOB: Final = "sync_shop"
RECONCILE_JOB: Final = "reconcile_shop"
ACTIVATION_JOB: Final = "run_activation"
