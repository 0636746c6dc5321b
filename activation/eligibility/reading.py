"""The statements that read what decides whether mails may leave."""

from sqlalchemy import text

from activation.consent.clicks import MUST_CONFIRM

READ_SHOP = text("""
-- Returns what decides for all mail of the shop: of its flows those whose mail counts for no cap,
-- and those that may end for more than their order (exits.py). Changes nothing. Primary keys.
SELECT
    coalesce(btrim(shops.postal_address), '') <> '' AS has_postal_address,
    shops.sender_address,
    shops.uninstalled_at IS NOT NULL AS is_disconnected,
    shops.segments_held_at IS NOT NULL AS is_held,
    shops.segments_held_check AS held_check,
    shops.time_zone AS shop_zone,
    CASE
        WHEN send_paces.paused_until > clock_timestamp()
            THEN :now + (send_paces.paused_until - clock_timestamp())
    END AS paused_until,
    coalesce(flows.uncounted, '{}') AS uncounted,
    coalesce(flows.watched, '{}') AS watched,
    send_rules.shop_id IS NOT NULL AS has_rules,
    send_rules.short_cap_mails,
    send_rules.short_cap_hours,
    send_rules.long_cap_mails,
    send_rules.long_cap_days,
    send_rules.quiet_from,
    send_rules.quiet_until,
    send_rules.time_zone
FROM crm.shops
LEFT JOIN crm.send_paces ON shops.shop_id = send_paces.shop_id
LEFT JOIN crm.send_rules ON shops.shop_id = send_rules.shop_id
CROSS JOIN LATERAL (
    SELECT
        array_agg(automations.automation_id) FILTER (
            WHERE versions.definition #>> '{trigger,type}' = :no_marketing
        ) AS uncounted,
        array_agg(automations.automation_id) FILTER (
            WHERE
            versions.definition #>> '{trigger,type}' IN ('abandoned_checkout', 'silence')
            OR versions.definition ? 'exit_on'
        ) AS watched
    FROM crm.automations
    INNER JOIN crm.automation_versions AS versions
        ON
            automations.shop_id = versions.shop_id
            AND automations.automation_id = versions.automation_id
            AND automations.current_version = versions.version
    WHERE automations.shop_id = shops.shop_id
) AS flows
WHERE shops.shop_id = :shop_id
""")

READ_FACTS = text(f"""
-- Returns one row per subject: all that decides whether its mail may leave. Changes nothing.
-- Primary keys throughout, and ix_messages__address twice for what is counted: mails to the address
-- since :since, and mails that are due and go before this one. A mail that may still leave, or may
-- have, counts as leaving now. A mail without an instant is queued; written so, no index of queued
-- mails is taken, in which many may be. The last columns are those of facts.FINE, in its order.
WITH flows AS MATERIALIZED (
    SELECT
        automations.automation_id,
        automations.is_active,
        coalesce(versions.definition #>> '{{trigger,type}}', '') AS trigger_type,
        CAST(versions.definition ->> 'is_capped' AS boolean) AS is_capped,
        CAST(versions.definition ->> 'keeps_quiet_hours' AS boolean) AS keeps_quiet_hours
    FROM crm.automations
    LEFT JOIN crm.automation_versions AS versions
        ON
            automations.shop_id = versions.shop_id
            AND automations.automation_id = versions.automation_id
            AND automations.current_version = versions.version
    WHERE
        automations.shop_id = :shop_id
        AND automations.automation_id = ANY(CAST(:automation_ids AS integer []))
)

SELECT
    subject.key,
    subject.customer_id,
    flows.automation_id,
    flows.trigger_type,
    flows.is_capped,
    flows.keeps_quiet_hours,
    customers.email,
    customers.email_normalized,
    customers.has_valid_email,
    customers.consent_updated_at,
    coalesce(requests.attempts, 0) AS refresh_attempts,
    CASE
        WHEN :counts THEN ARRAY(
            SELECT
                CASE other.state
                    WHEN 'frozen' THEN :now
                    WHEN 'unknown' THEN least(:now, other.frozen_at + :unknown_for)
                    ELSE coalesce(other.sent_at, other.frozen_at)
                END
            FROM crm.messages AS other
            WHERE
                other.shop_id = :shop_id
                AND lower(btrim(other.email)) = customers.email_normalized
                AND coalesce(other.sent_at, other.frozen_at) > :since
                AND other.state NOT IN ('skipped', 'failed')
                AND NOT other.is_test
                AND NOT other.automation_id = ANY(CAST(:uncounted AS integer []))
                AND other.message_id <> subject.key
        )
    END AS counted,
    flows.is_active AS automation_is_active,
    subject.order_id IS NULL
    OR flows.trigger_type = 'silence'
    OR coalesce(orders.is_counted AND orders.customer_id = subject.customer_id, false)
        AS entry_holds,
    customers.customer_id IS NOT NULL AS customer_is_known,
    subject.customer_id IS NULL OR customers.deleted_at IS NOT NULL AS customer_is_deleted,
    EXISTS (
        SELECT 1
        FROM raw_shopify.customer_merges AS merges
        WHERE
            merges.shop_id = :shop_id
            AND merges.applied_at IS NULL
            AND subject.customer_id IN (merges.deleted_customer_id, merges.kept_customer_id)
    ) AS customer_is_merging,
    customers.consent_state,
    {MUST_CONFIRM} AS must_confirm,
    EXISTS (
        SELECT 1
        FROM crm.opt_outs
        WHERE
            opt_outs.shop_id = :shop_id
            AND opt_outs.email_normalized = customers.email_normalized
            AND opt_outs.automation_id = subject.automation_id
            AND opt_outs.lifted_at IS NULL
    ) AS has_opted_out,
    (
        SELECT suppressions.suppressed_at
        FROM crm.suppressions
        WHERE
            suppressions.shop_id = :shop_id
            AND suppressions.email_normalized = customers.email_normalized
            AND suppressions.reason = 'unsubscribed'
            AND suppressions.lifted_at IS NULL
    ) AS unsubscribed_at,
    EXISTS (
        SELECT 1
        FROM crm.suppressions
        WHERE
            suppressions.shop_id = :shop_id
            AND suppressions.email_normalized = customers.email_normalized
            AND suppressions.reason <> 'unsubscribed'
            AND suppressions.lifted_at IS NULL
    ) AS is_suppressed,
    requests.object_id IS NOT NULL AND requests.next_attempt_at IS NOT NULL AS refresh_is_open,
    requests.object_id IS NOT NULL AND requests.next_attempt_at IS NULL AS refresh_is_given_up,
    CASE
        WHEN :counts_queued THEN (
            SELECT count(*)
            FROM crm.messages AS rival
            WHERE
                rival.shop_id = :shop_id
                AND lower(btrim(rival.email)) = customers.email_normalized
                AND coalesce(rival.sent_at, rival.frozen_at) IS NULL
                AND rival.state NOT IN ('skipped', 'failed')
                AND rival.due_at <= :now
                AND NOT rival.is_test
                AND NOT rival.automation_id = ANY(CAST(:uncounted AS integer []))
                AND (rival.priority, rival.due_at, rival.message_id)
                < (subject.priority, subject.due_at, subject.key)
                AND NOT rival.message_id = ANY(CAST(:keys AS bigint []))
        )
        ELSE 0
    END AS mails_before
FROM
    unnest(
        CAST(:keys AS bigint []),
        CAST(:customer_ids AS bigint []),
        CAST(:automation_of AS integer []),
        CAST(:order_ids AS bigint []),
        CAST(:priorities AS integer []),
        CAST(:due_at AS timestamptz [])
    ) AS subject (key, customer_id, automation_id, order_id, priority, due_at)
INNER JOIN flows ON subject.automation_id = flows.automation_id
LEFT JOIN raw_shopify.customers
    ON customers.shop_id = :shop_id AND customers.customer_id = subject.customer_id
LEFT JOIN raw_shopify.orders
    ON orders.shop_id = :shop_id AND orders.order_id = subject.order_id
LEFT JOIN raw_shopify.refresh_requests AS requests
    ON
        requests.shop_id = :shop_id
        AND requests.object_type = 'Customer'
        AND requests.object_id = subject.customer_id
""")
