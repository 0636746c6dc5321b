"""`ecomcrm doctor`: what mail needs to arrive, looked at one by one, each with what to do.

    installation   database, clocks, public address
    mail           provider, its webhooks, each shop's sender
    dns            what mailbox providers look up about the sender's domain
    shops          Shopify's side: scopes, webhooks; what law asks for

Nothing is changed by looking. Where something cannot be reached, it is said to be unchecked: a
machine without a network fails for nothing.
"""
