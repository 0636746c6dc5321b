"""Changes to a customer through the Admin API: tags and consent, refused as Shopify refuses."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from sandbox import shopkeeper
from sandbox.clock import epoch
from sandbox.http import BadRequestError
from sandbox.shopify.errors import graphql_error, not_in_sandbox
from sandbox.shopify.objects import parse_gid
from sandbox.totals import as_shown
from sandbox.world import World

Body = dict[str, Any]
# Things with tags that the sandbox keeps none for.
TAGGABLE = {"Article", "DraftOrder", "Order", "Product"}
ACCEPTED_STATES = {"PENDING", "SUBSCRIBED", "UNSUBSCRIBED"}
CONSENT = ("input", "emailMarketingConsent")
LEVEL, AT = (*CONSENT, "marketingOptInLevel"), (*CONSENT, "consentUpdatedAt")


class Mutations:
    """Changes one shop; each call is one transaction that also queues the webhooks."""

    def __init__(self, world: World, shop: sqlite3.Row) -> None:
        self._world, self._row = world, shop

    @contextmanager
    def _shop(self) -> Iterator[shopkeeper.Shop]:
        world = self._world
        with world.store.write() as db:
            yield shopkeeper.Shop(
                db=db, row=self._row, version=world.api_version, now=world.clock.now()
            )
        world.deliverer.wake()

    def tags_add(self, _info: Any, id: str, tags: list[str]) -> Body:  # noqa: A002 - the schema's name
        return self._tags(id, add=tags)

    def tags_remove(self, _info: Any, id: str, tags: list[str]) -> Body:  # noqa: A002
        return self._tags(id, remove=tags)

    def _tags(self, id_: str, **change: list[str]) -> Body:
        kind, number = parse_gid(id_)
        if kind in TAGGABLE:
            raise not_in_sandbox(f"tags of the type {kind}")
        if kind != "Customer":
            raise graphql_error("invalid id", "RESOURCE_NOT_FOUND")
        with self._shop() as shop:
            if _customer(shop, number) is None:
                return _refused("node", ["id"], "Customer does not exist")
            try:
                shopkeeper.change_tags(shop, number, **change)
            except BadRequestError:  # the only one that a customer who is there can cause
                return _refused("node", ["tags"], "Customer cannot have more than 250 tags")
        return {"node": {"__typename": "Customer", "id": id_}, "userErrors": []}

    def update_consent(self, _info: Any, input: Body) -> Body:  # noqa: A002
        """Refused in Shopify's order and words; nothing changes for who has no address."""
        kind, number = parse_gid(input["customerId"])
        wanted = input["emailMarketingConsent"]
        if wanted["marketingState"] not in ACCEPTED_STATES:
            raise graphql_error(
                f"Cannot specify {wanted['marketingState']} as a marketing state input", "INVALID"
            )
        if wanted.get("sourceLocationId"):
            raise not_in_sandbox("consent with sourceLocationId")
        with self._shop() as shop:
            row = _customer(shop, number) if kind == "Customer" else None
            if row is None:
                field = ["input", "customerId"]
                return _refused("customer", field, "Customer not found", "INVALID")
            said = _said(wanted.get("consentUpdatedAt"))
            wrong = _wrong(wanted, said, now=shop.now)
            if wrong:
                return _refused("customer", *wrong)
            _change_consent(shop, row, wanted, said)
            customer = as_shown(shop.db, self._row, _customer(shop, number) or row)
        return {"customer": customer, "userErrors": []}


def _customer(shop: shopkeeper.Shop, number: int) -> sqlite3.Row | None:
    row: sqlite3.Row | None = shop.db.execute(
        "select * from customers where shop = ? and num = ?", [shop.row["shop"], number]
    ).fetchone()
    return row


def _said(stamp: str | None) -> float | None:
    """When the customer said so. Raises Shopify's error for what is no time."""
    try:
        return epoch(stamp) if stamp else None
    except ValueError:
        raise graphql_error(f"Invalid DateTime '{stamp}'", "argumentLiteralsIncompatible") from None


def _change_consent(
    shop: shopkeeper.Shop, row: sqlite3.Row, wanted: Body, said: float | None
) -> None:
    """Nothing changes for who has no address, or when what is said is known already."""
    address, state = orjson.loads(row["body"])["defaultEmailAddress"], wanted["marketingState"]
    level = wanted.get("marketingOptInLevel")
    if address is None:
        return
    if address["marketingState"] == state and level in (None, address["marketingOptInLevel"]):
        return
    shopkeeper.set_consent(shop, row["num"], state, level=level, at=said)


def _wrong(wanted: Body, said: float | None, *, now: float) -> tuple[list[str], str, str] | None:
    """(field, message, code) of what is wrong with the consent, if anything is."""
    state, level = wanted["marketingState"], wanted.get("marketingOptInLevel")
    if state != "UNSUBSCRIBED" and level is None:
        return list(LEVEL), "Marketing opt in level must exist", "MISSING_ARGUMENT"
    if state == "PENDING" and level != "CONFIRMED_OPT_IN":
        message = "Marketing opt in level must be confirmed opt-in for pending consent state"
        return list(LEVEL), message, "INVALID"
    if said is not None and said > now:
        return list(AT), "Consent updated at must not be in the future", "INVALID"
    return None


def _refused(subject: str, field: list[str], message: str, code: str | None = None) -> Body:
    error: Body = {"field": field, "message": message} | ({"code": code} if code else {})
    return {subject: None, "userErrors": [error]}
