"""Names that both code locations and their callers share."""

from typing import Final

import dagster as dg

OWNERS: Final = ["team:ecomcrm"]

INGESTION: Final = "ingestion"
TRANSFORMATION: Final = "transformation"
SEGMENTATION: Final = "segmentation"
DELIVERY: Final = "delivery"

RAW_CUSTOMERS: Final = dg.AssetKey(["raw_shopify", "customers"])
RAW_ORDERS: Final = dg.AssetKey(["raw_shopify", "orders"])
RAW_ORDER_LINES: Final = dg.AssetKey(["raw_shopify", "order_lines"])
RAW_STATISTICS: Final = dg.AssetKey(["raw_shopify", "customer_statistics"])
CUSTOMER_SEGMENTS: Final = dg.AssetKey(["marts", "customer_segments"])
SEGMENT_MEMBERSHIPS: Final = dg.AssetKey(["crm", "segment_memberships"])
ENROLLMENTS: Final = dg.AssetKey(["crm", "enrollments"])
MESSAGES: Final = dg.AssetKey(["crm", "messages"])

ACTIVATION_JOB: Final = "run_activation"
