"""What becomes of a customer: consent, tags and name change, two are merged, one is deleted."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from sandbox.clock import utc_z
from sandbox.history import DELETED, MERGED, note_departure, note_moves
from sandbox.http import BadRequestError
from sandbox.shapes import gid, normal_email
from sandbox.shopify import rest_events, rest_shapes
from sandbox.shopkeeper.shop import Body, Shop, sorted_tags

MAX_TAGS = 250


def set_consent(
    shop: Shop, number: int, state: str, *, level: str | None = None, at: float | None = None
) -> Body:
    """Changes the marketing state; what it was before is kept with the time.

    `at`: when the customer said so, now by default. `level`: as it was by default.
    """
    row = shop.customer(number)
    customer: Body = orjson.loads(row["body"])
    if customer["defaultEmailAddress"] is None:
        raise BadRequestError("the customer has no address")
    customer["defaultEmailAddress"] |= {
        "marketingState": state,
        "marketingUpdatedAt": utc_z(shop.now if at is None else at),
    }
    if level is not None:
        customer["defaultEmailAddress"]["marketingOptInLevel"] = level
    shop.save_customer(row, customer)
    shop.announce("customers/update", rest_shapes.customer_payload(customer, zone=shop.zone))
    return {
        "customer": customer["id"],
        "consent": state,
        "webhook_id": announce_consent(shop, customer),
    }


def announce_consent(shop: Shop, customer: Body) -> str | None:
    return shop.announce(
        "customers_email_marketing_consent/update",
        rest_shapes.consent_payload(customer, zone=shop.zone),
    )


def change_tags(
    shop: Shop, number: int, *, add: Sequence[str] = (), remove: Sequence[str] = ()
) -> Body:
    """Adds tags, then takes some away; what changed nothing is announced to nobody."""
    row = shop.customer(number)
    customer: Body = orjson.loads(row["body"])
    before = customer["tags"]
    unwanted = {tag.casefold() for tag in sorted_tags(remove)}
    after = [t for t in sorted_tags([*before, *add]) if t.casefold() not in unwanted]
    if len(after) > MAX_TAGS:
        raise BadRequestError(f"a customer has at most {MAX_TAGS} tags")
    if after != before:
        customer["tags"] = after
        shop.save_customer(row, customer)
        shop.announce("customers/update", rest_shapes.customer_payload(customer, zone=shop.zone))
    webhook_id = announce_tags(shop, number, before=before, after=after)
    return {"customer": customer["id"], "tags": after, "webhook_id": webhook_id}


def announce_tags(
    shop: Shop, number: int, *, before: Sequence[str], after: Sequence[str]
) -> str | None:
    """The id of the first webhook; None when no tag came or went, or nobody subscribed."""
    first = None
    for topic, tags in (
        ("customer.tags_added", [tag for tag in after if tag not in before]),
        ("customer.tags_removed", [tag for tag in before if tag not in after]),
    ):
        if tags:
            payload = rest_events.tags_payload(number, tags, at=shop.now)
            first = shop.announce(topic, payload) or first
    return first


def change_customer(shop: Shop, number: int, changes: Mapping[str, str | None]) -> Body:
    """`first_name`, `last_name`, `email` and `phone` of `changes`, None to empty them.

    Consent stays with the customer when the address changes.
    """
    row = shop.customer(number)
    customer: Body = orjson.loads(row["body"])
    for name, field in (("first_name", "firstName"), ("last_name", "lastName")):
        if name in changes:
            customer[field] = changes[name] or None
    if "phone" in changes:
        phone = changes["phone"]
        customer["defaultPhoneNumber"] = {"phoneNumber": phone} if phone else None
    if "email" in changes:
        _set_address(shop, number, customer, changes["email"])
    shop.save_customer(row, customer)
    payload = rest_shapes.customer_payload(customer, zone=shop.zone)
    return {"customer": customer["id"], "webhook_id": shop.announce("customers/update", payload)}


def _set_address(shop: Shop, number: int, customer: Body, email: str | None) -> None:
    taken = shop.db.execute(
        "select 1 from customers where shop = ? and email = ? and num <> ?",
        [shop.num, normal_email(email), number],
    ).fetchone()
    if taken:
        raise BadRequestError("another customer has this address")
    asked: dict[str, Any] = customer["defaultEmailAddress"] or {
        "marketingState": "NOT_SUBSCRIBED",
        "marketingOptInLevel": "SINGLE_OPT_IN",
        "marketingUpdatedAt": None,
        "validFormat": True,
    }
    customer["defaultEmailAddress"] = asked | {"emailAddress": email} if email else None


def delete_customer(shop: Shop, number: int) -> Body:
    """Deletes the customer; orders and checkouts stay, with nobody to them."""
    row = shop.customer(number)
    note_departure(shop.db, shop.num, row, DELETED, at=shop.now)
    note_moves(shop.db, shop.num, number, at=shop.now)
    for table in ("orders", "checkouts"):
        shop.rewrite(table, number, {"customer": None}, owner=None)
    shop.db.execute("delete from customers where shop = ? and num = ?", [shop.num, number])
    payload = rest_events.customer_deleted_payload(number)
    webhook_id = shop.announce("customers/delete", payload)
    return {"customer": gid("Customer", number), "webhook_id": webhook_id}


def merge_customers(shop: Shop, kept: int, gone: int, *, fails: bool = False) -> Body:
    """Merges the customer `gone` into `kept`: orders, checkouts and tags follow, consent is that of
    the address that is kept. With `fails` Shopify says that it could not, and nothing changes.
    """
    survivor, other = shop.customer(kept), shop.customer(gone)
    if kept == gone:
        raise BadRequestError("a customer cannot be merged with themselves")
    if survivor["email"] is None and other["email"] is not None:
        raise BadRequestError("Shopify keeps the customer who has an address")
    errors = [_still_merging(kept, gone)] if fails else []
    if not fails:
        _merge(shop, survivor, other)
    payload = rest_events.merge_payload(kept=kept, deleted=gone, errors=errors)
    return {
        "customer": gid("Customer", kept),
        "deleted": None if fails else gid("Customer", gone),
        "webhook_id": shop.announce("customers/merge", payload),
    }


def _merge(shop: Shop, survivor: Any, other: Any) -> None:
    kept, gone = survivor["num"], other["num"]
    customer, lost = orjson.loads(survivor["body"]), orjson.loads(other["body"])
    before = customer["tags"]
    customer["tags"] = sorted_tags([*before, *lost["tags"]])[:MAX_TAGS]
    for field in ("firstName", "lastName", "defaultPhoneNumber"):
        customer[field] = customer[field] or lost[field]
    note_departure(shop.db, shop.num, other, MERGED, at=shop.now, kept=kept)
    note_moves(shop.db, shop.num, gone, at=shop.now)
    shop.rewrite("orders", gone, {"customer": {"id": customer["id"]}}, owner=kept)
    shop.rewrite("checkouts", gone, {"customer": owner_of_checkout(customer)}, owner=kept)
    shop.db.execute("delete from customers where shop = ? and num = ?", [shop.num, gone])
    shop.db.execute(
        "update customers set extra_orders = extra_orders + ?, extra_spent = extra_spent + ?"
        " where shop = ? and num = ?",
        [other["extra_orders"], other["extra_spent"], shop.num, kept],
    )
    shop.save_customer(survivor, customer)
    shop.announce("customers/update", rest_shapes.customer_payload(customer, zone=shop.zone))
    announce_tags(shop, kept, before=before, after=customer["tags"])


def owner_of_checkout(customer: Body) -> Body:
    """The customer as a checkout shows them."""
    address = customer["defaultEmailAddress"]
    return {
        "id": customer["id"],
        "defaultEmailAddress": {"emailAddress": address["emailAddress"]} if address else None,
    }


def _still_merging(kept: int, gone: int) -> Body:
    return {
        "customer_ids": [kept, gone],
        "field": "merge_in_progress",
        "message": "The customers are currently being merged.",
    }
