-- At most two rows, newest first: the last full run and, if the gate held it, the last accepted.
-- Counts on ix_rfm_runs__decided.
(
    SELECT
        rfm_runs.state,
        rfm_runs.held_reason,
        rfm_runs.computed_at,
        rfm_runs.decided_at
    FROM crm.rfm_runs
    WHERE rfm_runs.shop_id = :shop_id AND rfm_runs.state = 'held'
    ORDER BY rfm_runs.decided_at DESC, rfm_runs.rfm_run_id DESC
    LIMIT 1
)
UNION ALL
(
    SELECT
        rfm_runs.state,
        rfm_runs.held_reason,
        rfm_runs.computed_at,
        rfm_runs.decided_at
    FROM crm.rfm_runs
    WHERE rfm_runs.shop_id = :shop_id AND rfm_runs.state = 'accepted'
    ORDER BY rfm_runs.decided_at DESC, rfm_runs.rfm_run_id DESC
    LIMIT 1
)
ORDER BY decided_at DESC
