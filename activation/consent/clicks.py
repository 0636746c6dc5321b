"""Whether a click that confirmed a subscription is needed, and whether one still counts: pieces of
queries of this package and of eligibility.
"""

from typing import Final

# For a query that has crm.consent_confirmations AS confirmations, or its absence: whether the click
# still counts. Not once its address has left since, here or at the shop. Primary keys.
STANDS: Final = """coalesce(
    confirmations.confirmed_at > greatest(
        coalesce(confirmations.revoked_at, CAST('-infinity' AS timestamptz)),
        (
            SELECT suppressions.suppressed_at
            FROM crm.suppressions
            WHERE
                suppressions.shop_id = confirmations.shop_id
                AND suppressions.email_normalized = confirmations.email_normalized
                AND suppressions.reason = 'unsubscribed'
                AND suppressions.lifted_at IS NULL
        )
    ),
    false
)"""

# For a query that has raw_shopify.customers: whether the shop has to wait for a click before it may
# write to them. Primary keys.
MUST_CONFIRM: Final = f"""EXISTS (
    SELECT 1
    FROM crm.consent_policies AS policies
    LEFT JOIN crm.consent_confirmations AS confirmations
        ON
            policies.shop_id = confirmations.shop_id
            AND confirmations.email_normalized = customers.email_normalized
    WHERE
        policies.shop_id = customers.shop_id
        AND policies.double_opt_in
        AND customers.consent_level IS DISTINCT FROM 'CONFIRMED_OPT_IN'
        AND (
            policies.double_opt_in_since IS NULL
            OR coalesce(customers.consent_updated_at, customers.created_at)
            >= policies.double_opt_in_since
        )
        AND NOT {STANDS}
)"""
