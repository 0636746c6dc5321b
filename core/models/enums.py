"""One enum per state machine; the values are the words in SQL, Python and UI (DESIGN, names)."""

from enum import StrEnum


class ConsentState(StrEnum):
    """Shopify's state of an email address. NULL in the table means we have not been told."""

    SUBSCRIBED = "SUBSCRIBED"
    NOT_SUBSCRIBED = "NOT_SUBSCRIBED"
    PENDING = "PENDING"
    UNSUBSCRIBED = "UNSUBSCRIBED"
    INVALID = "INVALID"
    REDACTED = "REDACTED"


class ConsentStanding(StrEnum):
    """Where an address stands: Shopify's states, or that nothing may be sent at all."""

    SUBSCRIBED = "SUBSCRIBED"
    NOT_SUBSCRIBED = "NOT_SUBSCRIBED"
    PENDING = "PENDING"
    UNSUBSCRIBED = "UNSUBSCRIBED"
    INVALID = "INVALID"
    REDACTED = "REDACTED"
    SUPPRESSED = "SUPPRESSED"


class ConsentSource(StrEnum):
    """By whose act a permission changed."""

    SHOPIFY = "shopify"
    ONE_CLICK = "one_click"
    PAGE = "page"
    UNDO = "undo"
    DOUBLE_OPT_IN = "double_opt_in"
    COMPLAINT = "complaint"
    HARD_BOUNCE = "hard_bounce"
    OWNER = "owner"
    IMPORT = "import"


class LeavingReason(StrEnum):
    """Why somebody unsubscribed, as they may choose to say."""

    TOO_MANY = "too_many"
    NOT_RELEVANT = "not_relevant"
    NEVER_ASKED = "never_asked"
    DONE_HERE = "done_here"
    OTHER = "other"


class SyncKind(StrEnum):
    FULL = "full"
    INCREMENTAL = "incremental"
    RECONCILE = "reconcile"


class SyncState(StrEnum):
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


class SyncRequestState(StrEnum):
    """A sync that a person asked for: waiting, given to Dagster, over."""

    REQUESTED = "requested"
    LAUNCHED = "launched"
    COMPLETED = "completed"
    FAILED = "failed"


class LogLevel(StrEnum):
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class BulkPurpose(StrEnum):
    """What an operation's file is for: objects to load, or their ids to compare with ours."""

    LOAD = "load"
    COMPARE = "compare"


class BulkState(StrEnum):
    """Ours, beside Shopify's own status: what has become of the file.

    `partial`: Shopify gave up, and what it had got done was loaded.
    """

    SUBMITTED = "submitted"
    LOADED = "loaded"
    PARTIAL = "partial"
    FAILED = "failed"


class InboxState(StrEnum):
    RECEIVED = "received"
    APPLIED = "applied"
    IGNORED = "ignored"
    FAILED = "failed"


class ObjectType(StrEnum):
    """The types of Shopify's ids that we read on their own."""

    CUSTOMER = "Customer"
    ORDER = "Order"
    CHECKOUT = "AbandonedCheckout"
    PRODUCT = "Product"


class Segment(StrEnum):
    """In the fixed order of every chart, list and legend."""

    CHAMPION = "champion"
    LOYAL = "loyal"
    POTENTIAL = "potential"
    NEW = "new"
    AT_RISK = "at_risk"
    HIBERNATING = "hibernating"
    LOST = "lost"


class MembershipCause(StrEnum):
    """Why a stay began or ended."""

    BASELINE = "baseline"
    FULL_RUN = "full_run"
    ORDER = "order"
    DELETE = "delete"
    MERGE = "merge"
    ERASE = "erase"


class GateState(StrEnum):
    ACCEPTED = "accepted"
    HELD = "held"


class GateCheck(StrEnum):
    """Which claim of the data gate was not true: of a full run, or (the last) of many orders that
    came between two.
    """

    STATISTICS_DIFFER = "statistics_differ"
    CUSTOMERS_FELL = "customers_fell"
    ORDERS_FELL = "orders_fell"
    SEGMENTS_SWING = "segments_swing"
    ORDERS_SWING = "orders_swing"


class AuditAction(StrEnum):
    """What a person decided, or had done, that is kept for good."""

    ACCEPT_HELD_DATA = "accept_held_data"
    LIFT_SUPPRESSION = "lift_suppression"
    RESUME_SENDING = "resume_sending"
    RESEND_UNKNOWN = "resend_unknown"
    SET_DOUBLE_OPT_IN = "set_double_opt_in"
    REPAIR_STATISTICS = "repair_statistics"
    CHANGE_LIMITS = "change_limits"
    CHANGE_ATTRIBUTION = "change_attribution"


class EnrollmentState(StrEnum):
    ACTIVE = "active"
    COMPLETED = "completed"
    EXITED = "exited"
    TOO_LATE = "too_late"


class ExitReason(StrEnum):
    """Why somebody left a flow before its end.

    `ordered` and `checkout_completed` are its goal. `merged`: another enrolment stands for theirs.
    """

    ORDERED = "ordered"
    CHECKOUT_COMPLETED = "checkout_completed"
    CHECKOUT_GONE = "checkout_gone"
    LEFT_SEGMENTS = "left_segments"
    ORDER_GONE = "order_no_longer_counts"
    MERGED = "merged"

    @property
    def is_goal(self) -> bool:
        return self in (ExitReason.ORDERED, ExitReason.CHECKOUT_COMPLETED)


class MessageState(StrEnum):
    QUEUED = "queued"
    FROZEN = "frozen"
    SENT = "sent"
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    SKIPPED = "skipped"
    FAILED = "failed"
    UNKNOWN = "unknown"


class SkipReason(StrEnum):
    """Why a message will never leave."""

    NOT_SUBSCRIBED = "not_subscribed"
    CONSENT_UNKNOWN = "consent_unknown"
    UNSUBSCRIBED = "unsubscribed"
    SUPPRESSED = "suppressed"
    NO_ADDRESS = "no_address"
    INVALID_ADDRESS = "invalid_address"
    CUSTOMER_DELETED = "customer_deleted"
    EXITED = "exited"
    TOO_LATE = "too_late"
    AUTOMATION_OFF = "automation_off"
    HOLDOUT = "holdout"
    OPTED_OUT = "opted_out"


class DeferReason(StrEnum):
    """Why a message waits; it is looked at again and never dropped for it."""

    CONSENT_UNKNOWN = "consent_unknown"
    NO_POSTAL_ADDRESS = "no_postal_address"
    NO_SENDER = "no_sender"
    STALE_DATA = "stale_data"
    DATA_HELD = "data_held"
    PROVIDER_PAUSED = "provider_paused"
    SHOP_DISCONNECTED = "shop_disconnected"
    FREQUENCY_CAP = "frequency_cap"
    QUIET_HOURS = "quiet_hours"
    NOT_CONFIRMED = "not_confirmed"
    NO_DISCOUNT_CODE = "no_discount_code"


class CodeState(StrEnum):
    """Of a code asked for: only what Shopify has confirmed is `free`, and in a mail `assigned`.

    `refused`: Shopify made none. `unconfirmed`: it may exist, we never learned it. `expired`: it
    was for a mail that did not leave in time for it, or its discount is gone.
    """

    REQUESTED = "requested"
    FREE = "free"
    ASSIGNED = "assigned"
    REFUSED = "refused"
    UNCONFIRMED = "unconfirmed"
    EXPIRED = "expired"


class CreationState(StrEnum):
    """Of a request for codes. `lost`: we never learned what Shopify made of it."""

    OPEN = "open"
    DONE = "done"
    LOST = "lost"


class BatchState(StrEnum):
    OPEN = "open"
    COMPLETED = "completed"
    DISSOLVED = "dissolved"
    UNKNOWN = "unknown"


class AttemptOutcome(StrEnum):
    ACCEPTED = "accepted"
    REFUSED = "refused"
    RETRY = "retry"
    UNKNOWN = "unknown"


class SuppressionReason(StrEnum):
    UNSUBSCRIBED = "unsubscribed"
    HARD_BOUNCE = "hard_bounce"
    COMPLAINT = "complaint"
    MANUAL = "manual"
    ERASED = "erased"


class SuppressionSource(StrEnum):
    """Who put an address on the list: an event about our mail, a person, a file, or the provider's
    own list.
    """

    EVENT = "event"
    PERSON = "person"
    FILE = "file"
    PROVIDER = "provider"


class BounceKind(StrEnum):
    """Only `permanent` and `suppressed` condemn the address; a full mailbox empties.

    `suppressed`: the provider did not try, which counts against nobody.
    """

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    UNDETERMINED = "undetermined"
    SUPPRESSED = "suppressed"


class EngagementKind(StrEnum):
    OPEN = "open"
    CLICK = "click"


class EngagementSource(StrEnum):
    """Told by the provider, or seen by our own links."""

    PROVIDER = "provider"
    OWN = "own"


class BotReason(StrEnum):
    """Why an open or click is taken for a machine's; the first that holds."""

    TRAP = "trap"
    USER_AGENT = "user_agent"
    TOO_SOON = "too_soon"
    MANY_LINKS = "many_links"
    WITH_UNSUBSCRIBE = "with_unsubscribe"
    SAME_VISITOR = "same_visitor"


class HoldCause(StrEnum):
    """Which figure stopped a shop's sending."""

    BOUNCES = "bounces"
    COMPLAINTS = "complaints"


class EventState(StrEnum):
    STORED = "stored"
    MATCHED = "matched"
    UNMATCHED = "unmatched"
    FAILED = "failed"


class Role(StrEnum):
    OWNER = "owner"
    MARKETER = "marketer"
    ANALYST = "analyst"


class PrivacyKind(StrEnum):
    """The three compliance topics of Shopify."""

    DATA_REQUEST = "data_request"
    CUSTOMER_REDACT = "customer_redact"
    SHOP_REDACT = "shop_redact"


class PrivacyState(StrEnum):
    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"


class WriteBackKind(StrEnum):
    """What is written to Shopify about a customer."""

    ADD_TAG = "add_tag"
    REMOVE_TAG = "remove_tag"
    CONSENT = "consent"


class WriteBackState(StrEnum):
    """`superseded`: something later made it pointless before it was written."""

    QUEUED = "queued"
    DONE = "done"
    SUPERSEDED = "superseded"
    FAILED = "failed"


class MailFont(StrEnum):
    """Which faces a shop's mails are set in; every mail client has one of each stack."""

    MODERN = "modern"
    EDITORIAL = "editorial"
    CLASSIC = "classic"
    PLAIN = "plain"
