"""The `ecomcrm` command, the embedded PostgreSQL and the supervision of all processes.

Imports core and activation; starts orchestration, webapp and sandbox only as processes.
"""
