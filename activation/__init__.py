"""The product's rules: memberships, automations, eligibility, outbox, rendering, the provider.

Knows nothing of Dagster or web pages: an op, a sensor or a request handler calls one plain
function of this package and reports its counts.
"""
