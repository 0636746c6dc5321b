"""All tables, one metadata. dbt owns what dbt builds; everything else is here."""

from core.models.audit import AuditEntry
from core.models.automations import Automation, AutomationVersion, Enrollment
from core.models.base import CRM, RAW, Base, Money
from core.models.consent import ConsentConfirmation, ConsentEvent, ConsentPolicy, OptOut
from core.models.delivery import Engagement, SendingHold, SuppressionMirror
from core.models.discounts import DiscountCode, DiscountCreation, DiscountPool
from core.models.ingestion import (
    BulkOperation,
    InboxMessage,
    RefreshRequest,
    RejectedLine,
    SyncCursor,
    SyncLogEntry,
    SyncRequest,
    SyncRun,
)
from core.models.messages import (
    DeliveryAttempt,
    DeliveryEvent,
    Message,
    MessageBatch,
    SendPace,
    SendTeam,
    Suppression,
)
from core.models.privacy import PrivacyRequest, WriteBack
from core.models.rules import SendRules
from core.models.segments import RfmRun, SegmentMembership
from core.models.shopify import (
    Checkout,
    Customer,
    CustomerMerge,
    CustomerStatistics,
    CustomerTouch,
    DeletedObject,
    Order,
    OrderLine,
    Product,
    Refund,
    TagAddition,
)
from core.models.shops import LoginAttempt, Shop, ShopMember, User, UserSession

__all__ = [
    "CRM",
    "RAW",
    "AuditEntry",
    "Automation",
    "AutomationVersion",
    "Base",
    "BulkOperation",
    "Checkout",
    "ConsentConfirmation",
    "ConsentEvent",
    "ConsentPolicy",
    "Customer",
    "CustomerMerge",
    "CustomerStatistics",
    "CustomerTouch",
    "DeletedObject",
    "DeliveryAttempt",
    "DeliveryEvent",
    "DiscountCode",
    "DiscountCreation",
    "DiscountPool",
    "Engagement",
    "Enrollment",
    "InboxMessage",
    "LoginAttempt",
    "Message",
    "MessageBatch",
    "Money",
    "OptOut",
    "Order",
    "OrderLine",
    "PrivacyRequest",
    "Product",
    "RefreshRequest",
    "Refund",
    "RejectedLine",
    "RfmRun",
    "SegmentMembership",
    "SendPace",
    "SendRules",
    "SendTeam",
    "SendingHold",
    "Shop",
    "ShopMember",
    "Suppression",
    "SuppressionMirror",
    "SyncCursor",
    "SyncLogEntry",
    "SyncRequest",
    "SyncRun",
    "TagAddition",
    "User",
    "UserSession",
    "WriteBack",
]
