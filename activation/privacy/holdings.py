"""Every table that holds something about a person: how it is found there, and what erasing does.

A test compares this list with all tables, so a new column that may hold somebody's data cannot be
forgotten: it is either here or declared harmless, with the reason, in the test.

What stays, stays without the person: orders for the revenue, messages and memberships for the
counts (docs/decisions/0016).
"""

from dataclasses import dataclass
from typing import Final

from activation.dedupe import ERASED

_EMAILS: Final = (
    "(SELECT lower(btrim(known.email)) FROM unnest(CAST(:emails AS text [])) AS known (email))"
)
_CUSTOMERS: Final = "ANY(CAST(:customer_ids AS bigint []))"
_ORDERS: Final = "ANY(CAST(:order_ids AS bigint []))"
_PHONES: Final = "ANY(CAST(:phones AS text []))"

_MESSAGES: Final = f"(customer_id = {_CUSTOMERS} OR lower(btrim(email)) IN {_EMAILS})"
_ABOUT_OTHER_REQUESTS: Final = f"""(
    CAST(subject ->> 'customer_id' AS bigint) = {_CUSTOMERS}
    OR lower(btrim(subject ->> 'email')) IN {_EMAILS}
    OR EXISTS (
        SELECT 1
        FROM jsonb_array_elements_text(subject -> 'customer_ids') AS known (customer_id)
        WHERE CAST(known.customer_id AS bigint) = {_CUSTOMERS}
    )
    OR EXISTS (
        SELECT 1
        FROM jsonb_array_elements_text(subject -> 'emails') AS known (email)
        WHERE lower(btrim(known.email)) IN {_EMAILS}
    )
)"""


@dataclass(frozen=True)
class Holding:
    """`found` is the condition on the table's rows that are about the person.

    `personal` are its columns that say something about somebody. `erased` changes exactly those
    rows; None: the rows say nothing about a person once the others are erased.
    """

    table: str
    personal: tuple[str, ...]
    found: str
    erased: str | None
    kept: str = ""


def _deleted(table: str) -> str:
    return f"DELETE FROM {table}"


# In the order of locks (docs/decisions/0011): customers, orders, statistics, refresh requests.
# Messages come after everything that is found by them.
HOLDINGS: Final = (
    Holding(
        "raw_shopify.customers",
        (
            "customer_id",
            "email",
            "email_normalized",
            "has_valid_email",
            "first_name",
            "last_name",
            "phone",
            "tags",
            "locale",
            "merged_into",
        ),
        f"(customer_id = {_CUSTOMERS} OR email_normalized IN {_EMAILS})",
        _deleted("raw_shopify.customers"),
    ),
    Holding(
        "raw_shopify.orders",
        ("customer_id", "email", "checkout_token"),
        f"(customer_id = {_CUSTOMERS} OR order_id = {_ORDERS} OR lower(btrim(email)) IN {_EMAILS})",
        "UPDATE raw_shopify.orders SET customer_id = NULL, email = NULL, checkout_token = NULL",
        kept="as a guest's, for the revenue",
    ),
    Holding(
        "raw_shopify.order_lines",
        (),
        f"order_id = {_ORDERS}",
        None,
        kept="what was bought, by nobody",
    ),
    Holding(
        "raw_shopify.refunds",
        (),
        f"order_id = {_ORDERS}",
        None,
        kept="how much went back, to nobody",
    ),
    Holding(
        "raw_shopify.checkouts",
        (
            "customer_id",
            "email",
            "email_normalized",
            "phone",
            "recovery_url",
            "checkout_key",
            "token",
            "line_items",
        ),
        f"(customer_id = {_CUSTOMERS} OR email_normalized IN {_EMAILS} OR phone = {_PHONES})",
        _deleted("raw_shopify.checkouts"),
    ),
    Holding(
        "raw_shopify.customer_statistics",
        ("customer_id",),
        f"customer_id = {_CUSTOMERS}",
        _deleted("raw_shopify.customer_statistics"),
    ),
    Holding(
        "raw_shopify.customer_touches",
        ("customer_id",),
        f"customer_id = {_CUSTOMERS}",
        _deleted("raw_shopify.customer_touches"),
    ),
    Holding(
        "raw_shopify.tag_additions",
        ("customer_id", "tag"),
        f"customer_id = {_CUSTOMERS}",
        _deleted("raw_shopify.tag_additions"),
    ),
    Holding(
        "raw_shopify.refresh_requests",
        ("object_id", "error"),
        f"object_type = 'Customer' AND object_id = {_CUSTOMERS}",
        _deleted("raw_shopify.refresh_requests"),
    ),
    Holding(
        "raw_shopify.deleted_objects",
        ("object_id",),
        f"object_type = 'Customer' AND object_id = {_CUSTOMERS}",
        _deleted("raw_shopify.deleted_objects"),
    ),
    Holding(
        "raw_shopify.customer_merges",
        ("deleted_customer_id", "kept_customer_id"),
        f"(deleted_customer_id = {_CUSTOMERS} OR kept_customer_id = {_CUSTOMERS})",
        _deleted("raw_shopify.customer_merges"),
    ),
    Holding(
        "crm.enrollments",
        ("customer_id", "entry_key", "order_id"),
        f"customer_id = {_CUSTOMERS}",
        _deleted("crm.enrollments"),
    ),
    # The negative number of the row itself: nobody's, and different in each, so that two stays of
    # one person can no longer be put together.
    Holding(
        "crm.segment_memberships",
        ("customer_id",),
        f"customer_id = {_CUSTOMERS}",
        """
        UPDATE crm.segment_memberships
        SET
            customer_id = -membership_id,
            exit_cause = CASE WHEN exited_at IS NULL THEN 'erase' ELSE exit_cause END,
            exited_at = coalesce(exited_at, greatest(:now, entered_at))
        """,
        kept="stays of nobody, for the size of segments at past dates",
    ),
    Holding(
        "crm.write_backs",
        ("customer_id", "dedupe_key", "tag", "error"),
        f"customer_id = {_CUSTOMERS}",
        _deleted("crm.write_backs"),
    ),
    Holding(
        "crm.delivery_attempts",
        ("error",),
        f"""batch_id IN (
            SELECT messages.batch_id
            FROM crm.messages
            WHERE messages.shop_id = :shop_id AND {_MESSAGES}
        )""",
        "UPDATE crm.delivery_attempts SET error = NULL",
        kept="that a request was made",
    ),
    Holding(
        "crm.message_batches",
        ("last_error",),
        f"""batch_id IN (
            SELECT messages.batch_id
            FROM crm.messages
            WHERE messages.shop_id = :shop_id AND {_MESSAGES}
        )""",
        "UPDATE crm.message_batches SET last_error = NULL",
        kept="that a request was made; its bytes are gone since it was settled",
    ),
    Holding(
        "crm.delivery_events",
        ("body", "error"),
        f"""message_id IN (
            SELECT messages.message_id
            FROM crm.messages
            WHERE messages.shop_id = :shop_id AND {_MESSAGES}
        )""",
        "UPDATE crm.delivery_events SET body = '{}', error = NULL",
        kept="that something was delivered, opened or bounced",
    ),
    Holding(
        "crm.engagements",
        ("url", "ip_address", "user_agent"),
        f"""message_id IN (
            SELECT messages.message_id
            FROM crm.messages
            WHERE messages.shop_id = :shop_id AND {_MESSAGES}
        )""",
        "UPDATE crm.engagements SET url = NULL, ip_address = NULL, user_agent = NULL",
        kept="that something was opened or clicked, for the counts",
    ),
    # The code too: whoever has the mail can tell by it whose order it was used in.
    Holding(
        "crm.discount_codes",
        ("message_id", "code", "error"),
        f"""message_id IN (
            SELECT messages.message_id
            FROM crm.messages
            WHERE messages.shop_id = :shop_id AND {_MESSAGES}
        )""",
        _deleted("crm.discount_codes"),
    ),
    Holding(
        "crm.messages",
        (
            "customer_id",
            "email",
            "subject",
            "dedupe_key",
            "failure",
            "enrollment_id",
            "provider_message_id",
        ),
        _MESSAGES,
        f"""
        UPDATE crm.messages
        SET
            customer_id = NULL,
            email = NULL,
            subject = NULL,
            failure = NULL,
            enrollment_id = NULL,
            provider_message_id = NULL,
            dedupe_key = '{ERASED}/' || message_id,
            state = CASE WHEN state = 'queued' THEN 'skipped' ELSE state END,
            skip_reason = CASE WHEN state = 'queued' THEN 'suppressed' ELSE skip_reason END,
            defer_reason = NULL,
            finished_at = CASE WHEN state = 'queued' THEN :now ELSE finished_at END
        """,
        kept="that a mail was sent, for the counts",
    ),
    Holding(
        "crm.suppressions",
        ("email_normalized",),
        f"email_normalized IN {_EMAILS}",
        _deleted("crm.suppressions"),
        kept="keyed hashes of addresses and numbers",
    ),
    Holding(
        "crm.consent_events",
        ("email_normalized", "customer_id", "reason_text", "ip", "user_agent"),
        f"(customer_id = {_CUSTOMERS} OR email_normalized IN {_EMAILS})",
        """
        UPDATE crm.consent_events
        SET
            email_normalized = NULL,
            customer_id = NULL,
            reason_text = NULL,
            ip = NULL,
            user_agent = NULL
        """,
        kept="that somebody agreed or left, and when, for the counts",
    ),
    Holding(
        "crm.consent_confirmations",
        ("email_normalized", "customer_id"),
        f"(customer_id = {_CUSTOMERS} OR email_normalized IN {_EMAILS})",
        _deleted("crm.consent_confirmations"),
    ),
    Holding(
        "crm.opt_outs",
        ("email_normalized",),
        f"email_normalized IN {_EMAILS}",
        _deleted("crm.opt_outs"),
    ),
    Holding(
        "crm.privacy_requests",
        ("subject", "export", "error"),
        f"privacy_request_id <> :request_id AND {_ABOUT_OTHER_REQUESTS}",
        """
        UPDATE crm.privacy_requests
        SET
            export = NULL,
            error = NULL,
            subject = CASE
                WHEN state = 'pending' AND kind <> 'data_request' THEN subject
            END,
            receipt = CASE
                WHEN state = 'pending' AND kind = 'data_request'
                    THEN jsonb_build_object('unanswered', 'erased before')
                ELSE receipt
            END,
            finished_at = CASE
                WHEN state = 'pending' AND kind = 'data_request' THEN :now ELSE finished_at
            END,
            state = CASE
                WHEN state = 'pending' AND kind = 'data_request' THEN 'failed' ELSE state
            END
        """,
        kept="receipts in counts",
    ),
)

# Found by looking into what they hold, not by a column (bodies.py).
SEARCHED: Final = {
    "raw_shopify.webhook_inbox": ("body", "error"),
    "raw_shopify.rejected_lines": ("content", "error"),
    "crm.delivery_events": ("body", "error"),
}


def select_statement(holding: Holding) -> str:
    """The person's rows as JSON, everything in them."""
    return (
        f"SELECT to_jsonb(held) FROM {holding.table} AS held"
        f" WHERE shop_id = :shop_id AND {holding.found}"
    )


def erase_statement(holding: Holding) -> str:
    return f"{holding.erased} WHERE shop_id = :shop_id AND {holding.found} RETURNING 1"
