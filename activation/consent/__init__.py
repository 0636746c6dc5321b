"""Who agreed to marketing mail, who took it back, and the proof of both (docs/consent.md).

    ledger        one row per change, added and never changed (crm.consent_events)
    standing      where an address stands now, all in all
    comparing     what Shopify told of consent since, into the ledger
    preferences   which flows an address wants no mail of
    policy        whether a shop wants subscriptions confirmed
    confirming    double opt-in: asking once, and what a click on the button changes
    exporting     the ledger as CSV or JSON
    forgetting    networks and browsers of people, after a year

May this mail leave? is not decided here but in activation/eligibility.
"""
