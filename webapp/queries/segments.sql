-- One row per segment that has or had someone: how many are in it now and how many were at :since.
-- One scan of the shop's memberships.
SELECT
    segment_memberships.segment,
    count(*) FILTER (WHERE segment_memberships.exited_at IS NULL) AS members,
    count(*) FILTER (
        WHERE
            segment_memberships.entered_at < :since
            AND (
                segment_memberships.exited_at IS NULL
                OR segment_memberships.exited_at >= :since
            )
    ) AS members_before
FROM crm.segment_memberships
WHERE
    segment_memberships.shop_id = :shop_id
    AND (segment_memberships.exited_at IS NULL OR segment_memberships.exited_at >= :since)
GROUP BY segment_memberships.segment
