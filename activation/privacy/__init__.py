"""What people may ask of their data: to see everything we hold, and to have it erased.

Shopify asks by its three compliance webhooks, which become `crm.privacy_requests`; each activation
run works them first. docs/decisions/0016 says what erasing means, table by table.
"""
