-- At most :limit rows, newest first; without reconciliations, which only compare. Counts on
-- ix_sync_runs__started.
SELECT
    sync_runs.kind,
    sync_runs.state,
    sync_runs.started_at,
    sync_runs.finished_at,
    sync_runs.customers_loaded,
    sync_runs.orders_loaded,
    sync_runs.order_lines_loaded,
    sync_runs.lines_rejected,
    sync_runs.error,
    sync_runs.warning
FROM raw_shopify.sync_runs
WHERE sync_runs.shop_id = :shop_id AND sync_runs.kind <> 'reconcile'
ORDER BY sync_runs.started_at DESC, sync_runs.sync_run_id DESC
LIMIT :limit
