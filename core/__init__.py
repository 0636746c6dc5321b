"""Shared kernel: settings, clock, errors, database, tables, migrations, Shopify, order statistics.

Admits only what two packages need, and nothing that knows of emails, pages or Dagster
(docs/architecture.md).
"""
