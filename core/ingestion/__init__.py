"""Shopify's data on its way into `raw_shopify`: syncs, webhooks, refreshes, order statistics.

Every way in ends in core/ingestion/customers.py and core/ingestion/orders.py, so all apply the
same rules: last write by Shopify's `updated_at` wins, repeats change nothing.
"""
