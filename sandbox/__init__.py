"""Stand-ins for Shopify and Resend, with an oracle that says which mails were owed.

Imports none of the product's packages and is imported by none of them.
"""
