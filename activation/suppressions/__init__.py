"""Addresses that are not written to, per shop, whatever becomes of the customer (docs/delivery.md).

    adding    many at a time, by events, people, files and the provider's list
    lifting   by a person, with a reason that is kept
    files     CSV in and out
    mirror    our list and the provider's, each told what the other has

An address is normalised here as Postgres does it: `lower(btrim(address))`. What the recipients
themselves decide (unsubscribing, undoing) is in activation/unsubscribe.py.
"""
