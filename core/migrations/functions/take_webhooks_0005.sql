CREATE OR REPLACE FUNCTION raw_shopify.analyze_grown_tables()
RETURNS void
LANGUAGE plpgsql
AS $function$
DECLARE
    v_name text;
    v_is_well boolean := true;
    v_has_grown boolean;
BEGIN
    FOR v_name, v_has_grown IN
        SELECT tables.name, pg_relation_size(known.oid) > 10 * 8192
        FROM unnest(ARRAY['customer_statistics', 'customers', 'order_lines', 'orders'])
            AS tables (name)
        INNER JOIN pg_class AS known
            ON known.oid = ('raw_shopify.' || tables.name)::regclass
        WHERE known.reltuples < 0
    LOOP
        IF v_has_grown THEN
            EXECUTE 'ANALYZE raw_shopify.' || v_name;
        ELSE
            v_is_well := false;
        END IF;
    END LOOP;
    IF v_is_well THEN
        PERFORM set_config('ecomcrm.planned', 'well', false);
    END IF;
EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
    NULL; -- somebody else is at it
END
$function$;

CREATE OR REPLACE FUNCTION raw_shopify.take_webhooks(
    p_shop_id integer,
    p_now timestamptz,
    p_mode text,
    p_is_exclusive boolean,
    p_lock_timeout text,
    p_webhook_ids text [],
    p_topics text [],
    p_event_ids text [],
    p_triggered_at timestamptz [],
    p_api_versions text [],
    p_bodies bytea,
    p_starts integer [],
    p_lengths integer [],
    p_states text [],
    p_errors text [],
    p_seconds double precision [],
    p_customer_ids bigint [],
    p_order_ids bigint [],
    p_hashes text [],
    p_customers jsonb,
    p_orders jsonb,
    p_lines jsonb,
    p_refunds jsonb,
    p_checkouts jsonb,
    p_named_ids bigint [],
    p_product_ids bigint [],
    p_request_types text [],
    p_request_ids bigint [],
    p_request_reasons text [],
    OUT is_done boolean,
    OUT is_free boolean,
    OUT business_time timestamptz,
    OUT seen text [],
    OUT gone_orders bigint [],
    OUT merged_ids bigint [],
    OUT kept_ids bigint [],
    OUT has_erased boolean,
    OUT erased text []
)
LANGUAGE plpgsql
SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan
AS $function$
#variable_conflict use_column
DECLARE
    v_at timestamptz;
    v_customers raw_shopify.customers [];
    v_orders raw_shopify.orders [];
    v_known raw_shopify.orders [];
    v_lines raw_shopify.order_lines [];
    v_refunds raw_shopify.refunds [];
    v_checkouts raw_shopify.checkouts [];
    v_touched bigint [];
    v_asked bigint [];
    v_contested bigint [];
    v_kept_ids bigint [];
    v_known_ids bigint [] := '{}';
    v_has_merged boolean;
    v_count bigint;
BEGIN
    is_done := false;
    is_free := true;
    PERFORM set_config('lock_timeout', p_lock_timeout, true);
    IF current_setting('ecomcrm.planned', true) IS DISTINCT FROM 'well' THEN
        PERFORM raw_shopify.analyze_grown_tables();
    END IF;
    IF p_is_exclusive THEN
        PERFORM pg_advisory_xact_lock(hashtext('ecomcrm bulk apply'), p_shop_id);
    ELSIF NOT pg_try_advisory_xact_lock_shared(hashtext('ecomcrm bulk apply'), p_shop_id) THEN
        BEGIN
            PERFORM set_config('lock_timeout', '25ms', true);
            PERFORM pg_advisory_xact_lock_shared(hashtext('ecomcrm bulk apply'), p_shop_id);
            PERFORM set_config('lock_timeout', p_lock_timeout, true);
        EXCEPTION WHEN lock_not_available THEN
            is_free := false;
        END;
    END IF;

    IF p_mode = 'apply' THEN
        SELECT p_now + shops.clock_offset INTO business_time
        FROM crm.shops AS shops WHERE shops.shop_id = p_shop_id;
    ELSE
        SELECT
            p_now + shops.clock_offset,
            ARRAY(
                SELECT inbox.webhook_id FROM raw_shopify.webhook_inbox AS inbox
                WHERE inbox.shop_id = p_shop_id AND inbox.webhook_id = ANY(p_webhook_ids)
            ),
            ARRAY(
                SELECT gone.object_id FROM raw_shopify.deleted_objects AS gone
                WHERE gone.shop_id = p_shop_id AND gone.object_type = 'Order'
                    AND gone.object_id = ANY(p_order_ids)
            ),
            EXISTS (
                SELECT 1 FROM raw_shopify.customer_merges AS merges
                WHERE merges.shop_id = p_shop_id
                    AND merges.deleted_customer_id = ANY(p_customer_ids)
            ),
            EXISTS (
                SELECT 1 FROM crm.suppressions AS gone
                WHERE gone.shop_id = p_shop_id AND gone.reason = 'erased'
            )
        INTO business_time, seen, gone_orders, v_has_merged, has_erased
        FROM crm.shops AS shops WHERE shops.shop_id = p_shop_id;
        IF v_has_merged THEN
            SELECT array_agg(merges.deleted_customer_id), array_agg(merges.kept_customer_id)
            INTO merged_ids, kept_ids
            FROM raw_shopify.customer_merges AS merges
            WHERE merges.shop_id = p_shop_id
                AND merges.deleted_customer_id = ANY(p_customer_ids);
        END IF;
        IF has_erased THEN
            erased := ARRAY(
                SELECT gone.email_normalized FROM crm.suppressions AS gone
                WHERE gone.shop_id = p_shop_id AND gone.reason = 'erased'
                    AND gone.email_normalized = ANY(p_hashes)
            );
        END IF;
        IF p_mode = 'look' OR NOT is_free OR seen <> '{}' OR gone_orders <> '{}'
            OR merged_ids IS NOT NULL
            OR (has_erased AND cardinality(erased) IS DISTINCT FROM 1)
        THEN
            RETURN;
        END IF;
    END IF;
    v_at := business_time;

    INSERT INTO raw_shopify.webhook_inbox (
        shop_id, webhook_id, topic, event_id, triggered_at, api_version, body, state, error,
        attempts, next_attempt_at, applied_at
    )
    SELECT
        p_shop_id, came.webhook_id, came.topic, came.event_id, came.triggered_at, came.api_version,
        substring(p_bodies FROM came.start FOR came.length), came.state, came.error,
        (came.state <> 'received')::integer,
        clock_timestamp() + make_interval(secs => came.seconds),
        CASE WHEN came.state = 'applied' THEN v_at END
    FROM unnest(
        p_webhook_ids, p_topics, p_event_ids, p_triggered_at, p_api_versions, p_starts, p_lengths,
        p_states, p_errors, p_seconds
    ) AS came (
        webhook_id, topic, event_id, triggered_at, api_version, start, length, state, error, seconds
    )
    ORDER BY came.webhook_id
    ON CONFLICT (shop_id, webhook_id) DO NOTHING;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    IF v_count < cardinality(p_webhook_ids) THEN
        RAISE 'somebody else has just stored one of these webhooks' USING ERRCODE = 'EC001';
    END IF;

    IF p_customers IS NOT NULL THEN
        v_customers := ARRAY(
            SELECT told FROM jsonb_populate_recordset(NULL::raw_shopify.customers, p_customers)
                AS told
        );
        WITH moved AS (
            INSERT INTO raw_shopify.customers AS stored (
                shop_id, customer_id, email, first_name, last_name, phone, created_at, updated_at
            )
            SELECT
                p_shop_id, told.customer_id, told.email, told.first_name, told.last_name, told.phone,
                told.created_at, told.updated_at
            FROM unnest(v_customers) AS told
            ORDER BY told.customer_id
            ON CONFLICT (shop_id, customer_id) DO UPDATE SET
                email = coalesce(excluded.email, stored.email),
                first_name = coalesce(excluded.first_name, stored.first_name),
                last_name = coalesce(excluded.last_name, stored.last_name),
                phone = coalesce(excluded.phone, stored.phone),
                created_at = least(excluded.created_at, nullif(stored.created_at, '1970-01-01T00:00:00Z')),
                updated_at = excluded.updated_at,
                loaded_at = clock_timestamp()
            WHERE stored.updated_at < excluded.updated_at
            RETURNING stored.customer_id
        )

        SELECT array_agg(moved.customer_id) INTO v_asked FROM moved;
        IF coalesce(cardinality(v_asked), 0) < cardinality(v_customers) THEN
            v_asked := v_asked || ARRAY(
                SELECT stored.customer_id
                FROM unnest(v_customers) AS told
                CROSS JOIN LATERAL (
                    SELECT known.*
                    FROM raw_shopify.customers AS known
                    WHERE known.shop_id = p_shop_id
                        AND known.customer_id = told.customer_id
                    OFFSET 0
                ) AS stored
                WHERE stored.consent_state IS NULL
                    OR (
                        stored.updated_at = told.updated_at
                        AND (
                            coalesce(told.email, stored.email),
                            coalesce(told.first_name, stored.first_name),
                            coalesce(told.last_name, stored.last_name),
                            coalesce(told.phone, stored.phone)
                        ) IS DISTINCT FROM (
                            stored.email, stored.first_name, stored.last_name, stored.phone
                        )
                    )
            );
        END IF;
    END IF;

    IF p_orders IS NOT NULL OR p_named_ids <> '{}' THEN
        SELECT
            ARRAY(
                SELECT told FROM jsonb_populate_recordset(NULL::raw_shopify.orders, p_orders) AS told
            ),
            ARRAY(
                SELECT told FROM jsonb_populate_recordset(NULL::raw_shopify.order_lines, p_lines)
                    AS told
            )
        INTO v_orders, v_lines;
        WITH added AS (
            INSERT INTO raw_shopify.orders (
                shop_id, order_id, name, customer_id, email, created_at, updated_at, processed_at,
                cancelled_at, is_test, financial_status, source_name, checkout_token, discount_codes,
                currency, current_total, original_total, refunded_total
            )
            SELECT
                p_shop_id, staged.order_id, staged.name, staged.customer_id, staged.email, staged.created_at,
                staged.updated_at, staged.processed_at, staged.cancelled_at, staged.is_test,
                staged.financial_status, staged.source_name, staged.checkout_token, staged.discount_codes,
                staged.currency, staged.current_total, staged.original_total, staged.refunded_total
            FROM unnest(v_orders) AS staged
            ORDER BY staged.order_id
            ON CONFLICT (shop_id, order_id) DO NOTHING
            RETURNING order_id, customer_id
        )

        SELECT array_agg(added.order_id), array_agg(added.customer_id)
        INTO v_kept_ids, v_touched FROM added;
        IF coalesce(cardinality(v_kept_ids), 0) < cardinality(v_orders) THEN
            v_known := ARRAY(
                SELECT known FROM unnest(v_orders) AS known
                WHERE known.order_id <> ALL(coalesce(v_kept_ids, '{}'))
            );
            v_known_ids := ARRAY(SELECT staged.order_id FROM unnest(v_known) AS staged);
            SELECT
                v_kept_ids || array_agg(held.order_id),
                v_touched || array_agg(held.customer_id)
                || ARRAY(SELECT staged.customer_id FROM unnest(v_known) AS staged)
            INTO v_kept_ids, v_touched
            FROM (
                SELECT stored.order_id, stored.customer_id
                FROM raw_shopify.orders AS stored
                WHERE stored.shop_id = p_shop_id
                    AND stored.order_id = ANY(v_known_ids) AND stored.updated_at <= (SELECT staged.updated_at FROM unnest(v_known) AS staged WHERE staged.order_id = stored.order_id)
                ORDER BY stored.order_id
                FOR UPDATE OF stored
            ) AS held;
        END IF;
        v_touched := ARRAY(
            SELECT DISTINCT named.customer_id
            FROM unnest(v_touched || p_named_ids) AS named (customer_id)
            WHERE named.customer_id IS NOT NULL
            ORDER BY named.customer_id
        );
        INSERT INTO raw_shopify.customer_statistics AS stored (shop_id, customer_id)
        SELECT p_shop_id, touched.customer_id
        FROM unnest(v_touched) AS touched (customer_id)
        ORDER BY touched.customer_id
        ON CONFLICT (shop_id, customer_id) DO UPDATE SET order_count = stored.order_count
        WHERE false;
        IF v_known_ids <> '{}' THEN
            v_refunds := ARRAY(
                SELECT told FROM jsonb_populate_recordset(NULL::raw_shopify.refunds, p_refunds)
                    AS told
            );
            WITH contested AS (
                SELECT stored.order_id
                FROM raw_shopify.orders AS stored
                INNER JOIN unnest(v_known) AS staged
                    ON stored.order_id = staged.order_id AND stored.order_id = ANY(v_known_ids)
                WHERE stored.shop_id = p_shop_id
                    AND stored.updated_at = staged.updated_at
                    AND stored.updated_at <= staged.updated_at AND (stored.name, stored.customer_id, stored.email, stored.created_at, stored.updated_at, stored.processed_at, stored.cancelled_at, stored.is_test, stored.financial_status, stored.source_name, stored.checkout_token, stored.discount_codes, stored.currency, stored.current_total, stored.original_total, stored.refunded_total) IS DISTINCT FROM (staged.name, staged.customer_id, staged.email, staged.created_at, staged.updated_at, staged.processed_at, staged.cancelled_at, staged.is_test, staged.financial_status, staged.source_name, staged.checkout_token, staged.discount_codes, staged.currency, staged.current_total, staged.original_total, staged.refunded_total)
            ),

            updated AS (
                UPDATE raw_shopify.orders AS stored SET
                    name = staged.name,
                    customer_id = staged.customer_id,
                    email = staged.email,
                    created_at = staged.created_at,
                    updated_at = staged.updated_at,
                    processed_at = staged.processed_at,
                    cancelled_at = staged.cancelled_at,
                    is_test = staged.is_test,
                    financial_status = staged.financial_status,
                    source_name = staged.source_name,
                    checkout_token = coalesce(staged.checkout_token, stored.checkout_token),
                    discount_codes = staged.discount_codes,
                    currency = staged.currency,
                    current_total = staged.current_total,
                    original_total = staged.original_total,
                    refunded_total = staged.refunded_total,
                    loaded_at = clock_timestamp()
                FROM unnest(v_known) AS staged
                WHERE stored.shop_id = p_shop_id
                    AND stored.order_id = staged.order_id AND stored.order_id = ANY(v_known_ids)
                    AND stored.updated_at <= staged.updated_at AND (stored.name, stored.customer_id, stored.email, stored.created_at, stored.updated_at, stored.processed_at, stored.cancelled_at, stored.is_test, stored.financial_status, stored.source_name, stored.checkout_token, stored.discount_codes, stored.currency, stored.current_total, stored.original_total, stored.refunded_total) IS DISTINCT FROM (staged.name, staged.customer_id, staged.email, staged.created_at, staged.updated_at, staged.processed_at, staged.cancelled_at, staged.is_test, staged.financial_status, staged.source_name, staged.checkout_token, staged.discount_codes, staged.currency, staged.current_total, staged.original_total, staged.refunded_total)
            ),

            gone_lines AS (
                DELETE FROM raw_shopify.order_lines AS gone
                USING unnest(v_known) AS staged
                INNER JOIN raw_shopify.orders AS stored
                    ON stored.shop_id = p_shop_id
                        AND stored.order_id = staged.order_id AND stored.order_id = ANY(v_known_ids)
                        AND stored.updated_at <= staged.updated_at
                WHERE gone.shop_id = p_shop_id
                    AND gone.order_id = staged.order_id AND gone.order_id = ANY(v_known_ids)
                    AND NOT EXISTS (
                        SELECT 1
                        FROM unnest(v_lines) AS staged_line
                        WHERE staged_line.line_id = gone.line_id
                            AND staged_line.order_id = gone.order_id
                    )
            ),

            gone_refunds AS (
                DELETE FROM raw_shopify.refunds AS gone
                USING unnest(v_known) AS staged
                INNER JOIN raw_shopify.orders AS stored
                    ON stored.shop_id = p_shop_id
                        AND stored.order_id = staged.order_id AND stored.order_id = ANY(v_known_ids)
                        AND stored.updated_at <= staged.updated_at
                WHERE gone.shop_id = p_shop_id
                    AND gone.order_id = staged.order_id AND gone.order_id = ANY(v_known_ids)
                    AND NOT EXISTS (
                        SELECT 1
                        FROM unnest(v_refunds) AS staged_refund
                        WHERE staged_refund.refund_id = gone.refund_id
                            AND staged_refund.order_id = gone.order_id
                    )
            )

            SELECT array_agg(contested.order_id) INTO v_contested FROM contested;
        ELSIF p_refunds IS NOT NULL THEN
            v_refunds := ARRAY(
                SELECT told FROM jsonb_populate_recordset(NULL::raw_shopify.refunds, p_refunds)
                    AS told
            );
        END IF;
        INSERT INTO raw_shopify.order_lines AS stored_line (
            shop_id, line_id, order_id, title, variant_title, sku, product_id, quantity,
            current_quantity, unit_price, currency
        )
        SELECT DISTINCT ON (staged_line.line_id)
            p_shop_id, staged_line.line_id, staged_line.order_id, staged_line.title,
            staged_line.variant_title, staged_line.sku, staged_line.product_id, staged_line.quantity,
            staged_line.current_quantity, staged_line.unit_price, staged_line.currency
        FROM unnest(v_lines) AS staged_line
        INNER JOIN unnest(v_kept_ids) AS kept (order_id)
            ON staged_line.order_id = kept.order_id
        ORDER BY staged_line.line_id
        ON CONFLICT (shop_id, line_id) DO UPDATE SET
            order_id = excluded.order_id,
            title = excluded.title,
            variant_title = excluded.variant_title,
            sku = excluded.sku,
            product_id = excluded.product_id,
            quantity = excluded.quantity,
            current_quantity = excluded.current_quantity,
            unit_price = excluded.unit_price,
            currency = excluded.currency
        WHERE (
            stored_line.order_id, stored_line.title, stored_line.variant_title, stored_line.sku,
            stored_line.product_id, stored_line.quantity, stored_line.current_quantity,
            stored_line.unit_price, stored_line.currency
        ) IS DISTINCT FROM (
            excluded.order_id, excluded.title, excluded.variant_title, excluded.sku,
            excluded.product_id, excluded.quantity, excluded.current_quantity,
            excluded.unit_price, excluded.currency
        );
        IF v_refunds <> '{}' THEN
            INSERT INTO raw_shopify.refunds AS stored_refund (
                shop_id, refund_id, order_id, processed_at, amount, currency
            )
            SELECT DISTINCT ON (staged_refund.refund_id)
                p_shop_id, staged_refund.refund_id, staged_refund.order_id, staged_refund.processed_at,
                staged_refund.amount, staged_refund.currency
            FROM unnest(v_refunds) AS staged_refund
            INNER JOIN unnest(v_kept_ids) AS kept (order_id)
                ON staged_refund.order_id = kept.order_id
            ORDER BY staged_refund.refund_id
            ON CONFLICT (shop_id, refund_id) DO UPDATE SET
                order_id = excluded.order_id,
                processed_at = excluded.processed_at,
                amount = excluded.amount,
                currency = excluded.currency
            WHERE (
                stored_refund.order_id, stored_refund.processed_at, stored_refund.amount,
                stored_refund.currency
            ) IS DISTINCT FROM (
                excluded.order_id, excluded.processed_at, excluded.amount, excluded.currency
            );
        END IF;
        WITH moved AS (
            UPDATE raw_shopify.customer_statistics AS stored SET
                order_count = fresh.order_count,
                total_spent = fresh.total_spent,
                first_order_at = fresh.first_order_at,
                last_order_at = fresh.last_order_at,
                foreign_currency_order_count = fresh.foreign_currency_order_count
            FROM (
                SELECT
                    touched.customer_id,
                    count(orders.order_id) AS order_count,
                    coalesce(sum(orders.current_total) FILTER (WHERE orders.currency = shop.currency), 0)
                        AS total_spent,
                    min(orders.processed_at) AS first_order_at,
                    max(orders.processed_at) AS last_order_at,
                    count(orders.order_id) FILTER (WHERE orders.currency <> shop.currency)
                        AS foreign_currency_order_count
                FROM unnest(v_touched) AS touched (customer_id)
                CROSS JOIN (
                    SELECT shops.currency FROM crm.shops AS shops WHERE shops.shop_id = p_shop_id
                ) AS shop
                LEFT JOIN raw_shopify.orders AS orders
                    ON orders.shop_id = p_shop_id
                        AND orders.customer_id = touched.customer_id AND orders.customer_id = ANY(v_touched)
                        AND orders.is_counted
                GROUP BY touched.customer_id
            ) AS fresh
            WHERE stored.shop_id = p_shop_id
                AND stored.customer_id = fresh.customer_id AND stored.customer_id = ANY(v_touched)
                AND (
                    stored.order_count, stored.total_spent, stored.first_order_at, stored.last_order_at,
                    stored.foreign_currency_order_count
                ) IS DISTINCT FROM (
                    fresh.order_count, fresh.total_spent, fresh.first_order_at, fresh.last_order_at,
                    fresh.foreign_currency_order_count
                )
            RETURNING stored.customer_id
        )

        INSERT INTO raw_shopify.customer_touches (shop_id, customer_id, touched_at)
        SELECT p_shop_id, moved.customer_id, v_at
        FROM moved;
    END IF;

    IF p_checkouts IS NOT NULL THEN
        v_checkouts := ARRAY(
            SELECT told FROM jsonb_populate_recordset(NULL::raw_shopify.checkouts, p_checkouts)
                AS told
        );
        INSERT INTO raw_shopify.checkouts AS stored (
            shop_id, checkout_key, token, name, customer_id, email, phone, recovery_url, created_at,
            updated_at, completed_at, currency, total, subtotal, discount_codes, line_items, deleted_at
        )
        SELECT
            p_shop_id, told.checkout_key, told.token, told.name, told.customer_id, told.email, told.phone,
            told.recovery_url, told.created_at, told.updated_at, told.completed_at, told.currency,
            told.total, told.subtotal, told.discount_codes, told.line_items,
            (
                SELECT gone.deleted_at
                FROM raw_shopify.deleted_objects AS gone
                WHERE gone.shop_id = p_shop_id
                    AND gone.object_type = 'AbandonedCheckout'
                    AND gone.object_id = CAST(substring(told.name FROM '^#([0-9]{1,18})$') AS bigint)
            )
        FROM unnest(v_checkouts) AS told
        WHERE coalesce(told.email, told.phone, told.customer_id::text) IS NOT NULL
            OR (
                SELECT held.checkout_key
                FROM raw_shopify.checkouts AS held
                WHERE held.shop_id = p_shop_id
                    AND held.checkout_key = told.checkout_key
            ) IS NOT NULL
        ORDER BY told.checkout_key
        ON CONFLICT (shop_id, checkout_key) DO UPDATE SET
            token = coalesce(excluded.token, stored.token),
            name = coalesce(excluded.name, stored.name),
            customer_id = coalesce(excluded.customer_id, stored.customer_id),
            email = coalesce(excluded.email, stored.email),
            phone = coalesce(excluded.phone, stored.phone),
            recovery_url = coalesce(excluded.recovery_url, stored.recovery_url),
            created_at = least(excluded.created_at, nullif(stored.created_at, '1970-01-01T00:00:00Z')),
            updated_at = excluded.updated_at,
            completed_at = coalesce(excluded.completed_at, stored.completed_at),
            currency = excluded.currency,
            total = excluded.total,
            subtotal = coalesce(excluded.subtotal, stored.subtotal),
            discount_codes = excluded.discount_codes,
            line_items = excluded.line_items,
            deleted_at = coalesce(stored.deleted_at, excluded.deleted_at),
            loaded_at = clock_timestamp()
        WHERE (
            stored.updated_at, stored.completed_at IS NOT NULL, stored.total
        ) < (
            excluded.updated_at, excluded.completed_at IS NOT NULL, excluded.total
        );
    END IF;

    INSERT INTO raw_shopify.refresh_requests AS stored (
        shop_id, object_type, object_id, reason, requested_at, next_attempt_at
    )
    SELECT DISTINCT ON (asked.object_type, asked.object_id)
        p_shop_id, asked.object_type, asked.object_id, asked.reason, v_at, clock_timestamp()
    FROM (
        SELECT 'Customer' AS object_type, customer_id AS object_id, 'consent unknown' AS reason
        FROM unnest(v_asked) AS moved (customer_id)
        UNION ALL
        SELECT 'Customer', named.customer_id, 'consent unknown'
        FROM unnest(v_touched) AS named (customer_id)
        WHERE (
                SELECT customer.consent_state
                FROM raw_shopify.customers AS customer
                WHERE customer.shop_id = p_shop_id
                    AND customer.customer_id = named.customer_id
            ) IS NULL
        UNION ALL
        SELECT 'Order', contested.order_id, 'two states at one time'
        FROM unnest(v_contested) AS contested (order_id)
        UNION ALL
        SELECT wanted.object_type, wanted.object_id, wanted.reason
        FROM unnest(p_request_types, p_request_ids, p_request_reasons)
            AS wanted (object_type, object_id, reason)
        UNION ALL
        SELECT 'Product' AS object_type, named.product_id AS object_id, 'product unknown' AS reason
        FROM unnest(CAST(p_product_ids AS bigint [])) AS named (product_id)
        WHERE (
                SELECT stored.product_id
                FROM raw_shopify.products AS stored
                WHERE stored.shop_id = p_shop_id
                    AND stored.product_id = named.product_id
            ) IS NULL
            AND (
                SELECT waiting.object_id
                FROM raw_shopify.refresh_requests AS waiting
                WHERE waiting.shop_id = p_shop_id
                    AND waiting.object_type = 'Product'
                    AND waiting.object_id = named.product_id
            ) IS NULL
    ) AS asked
    WHERE coalesce(
            (
                SELECT waiting.attempts
                FROM raw_shopify.refresh_requests AS waiting
                WHERE waiting.shop_id = p_shop_id
                    AND waiting.object_type = asked.object_type
                    AND waiting.object_id = asked.object_id
            ),
            -1
        ) <> 0
    ORDER BY asked.object_type, asked.object_id, asked.reason
    ON CONFLICT (shop_id, object_type, object_id) DO UPDATE SET
        requested_at = greatest(
            excluded.requested_at, stored.requested_at + interval '1 microsecond'
        ),
        reason = excluded.reason,
        attempts = 0,
        next_attempt_at = excluded.next_attempt_at,
        error = NULL
    WHERE stored.attempts > 0;
    is_done := true;
END
$function$
