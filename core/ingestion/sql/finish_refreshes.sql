-- Requests that have been answered, unless they were made anew while we read.
-- Changes: raw_shopify.refresh_requests loses them.
-- Index: pk_refresh_requests.
DELETE FROM raw_shopify.refresh_requests AS stored
USING (
    SELECT held.shop_id, held.object_type, held.object_id
    FROM raw_shopify.refresh_requests AS held
    INNER JOIN unnest(
        CAST(:object_ids AS bigint []), CAST(:requested_at AS timestamptz [])
    ) AS answered (object_id, requested_at)
        ON held.object_id = answered.object_id
            AND held.requested_at = answered.requested_at
    WHERE held.shop_id = :shop_id
        AND held.object_type = :object_type
    ORDER BY held.object_id
    FOR UPDATE OF held
) AS done
WHERE stored.shop_id = done.shop_id
    AND stored.object_type = done.object_type
    AND stored.object_id = done.object_id
