"""No table with somebody's data can be forgotten: by export, by erasure, or by this list."""

from typing import Final

import pytest
from sqlalchemy import ARRAY, Column, LargeBinary
from sqlalchemy.dialects.postgresql import JSONB

from activation.privacy.holdings import HOLDINGS, SEARCHED
from core.models import Base

# Parts of names that a person can be found by, or that hold what a person wrote.
TELLING: Final = (
    *("customer", "email", "phone", "name", "address", "token", "url", "subject", "object_id"),
    *("entry_key", "dedupe_key", "tag", "error", "failure", "message", "content", "body", "locale"),
)

# Why these say nothing about a customer.
HARMLESS: Final = {
    "crm.audit_entries": "what people who log in decided about counts",
    "crm.automations": "what the merchant named their flows",
    "crm.automation_versions": "the merchant's own texts",
    "crm.consent_policies": "the merchant's choice; how far a walk got says nothing of a person",
    "crm.discount_creations": "when codes were asked for, and how many",
    "crm.discount_pools": "the merchant's terms, and Shopify's words about them",
    "crm.login_attempts": "hashes, of people who log in",
    "crm.rfm_runs": "counts",
    "crm.shop_members": "people who log in",
    "crm.shops": "the merchant",
    "crm.user_sessions": "people who log in",
    "crm.users": "people who log in",
    "crm.send_paces": "the provider's words about the shop",
    "crm.sending_holds": "counts",
    "crm.suppression_mirrors": "the provider's words about its list",
    "crm.send_teams": "the provider's words about its account",
    "raw_shopify.bulk_operations": "searches by time",
    "raw_shopify.products": "what is sold",
    "raw_shopify.sync_cursors": "the last object's number, without type or time of a person",
    "raw_shopify.sync_log": "counts, in words",
    "raw_shopify.sync_requests": "who of those who log in asked",
    "raw_shopify.sync_runs": "counts, in words",
}
# Columns of tables that do hold people.
HARMLESS_COLUMNS: Final = {
    "crm.consent_events.message_id": "ours; the message is nobody's once erased",
    "crm.delivery_events.message_id": "ours; the message is nobody's once erased",
    "crm.engagements.message_id": "ours; the message is nobody's once erased",
    "crm.message_batches.body": "only while open (batches.py)",
    "crm.message_batches.body_sha256": "of many mails together; none can be got back from it",
    "crm.message_batches.message_count": "a count",
    "crm.messages.message_id": "ours, nobody's once erased",
    "crm.opt_outs.message_id": "ours; deleted with its row",
    "crm.privacy_requests.receipt": "counts",
    "crm.suppressions.message_id": "ours; deleted with its row",
    "raw_shopify.checkouts.name": "deleted with its row",
    "raw_shopify.checkouts.discount_codes": "deleted with its row",
    "raw_shopify.orders.discount_codes": "of campaigns, or nobody's without discount_codes",
    "raw_shopify.orders.name": "the number on the receipt, for the shop's books",
    "raw_shopify.orders.source_name": "web, pos, …",
}


def is_telling(column: Column[object]) -> bool:
    holds_anything = isinstance(column.type, (JSONB, LargeBinary, ARRAY))
    return holds_anything or any(part in column.name for part in TELLING)


TABLES = {table.fullname: table for table in Base.metadata.sorted_tables}


@pytest.mark.requirement("SHOP-07")
@pytest.mark.parametrize("name", sorted(TABLES))
def test_whatever_may_tell_of_a_person_is_exported_and_erased(name: str) -> None:
    known = {column for each in HOLDINGS if each.table == name for column in each.personal}
    known |= set(SEARCHED.get(name, ()))
    telling = {column.name for column in TABLES[name].columns if is_telling(column)}
    if name in HARMLESS:
        assert not known, "harmless, and yet it is erased"
        return
    forgotten = {each for each in telling - known if f"{name}.{each}" not in HARMLESS_COLUMNS}
    assert not forgotten, f"{name}: exported and erased by activation/privacy, or harmless?"


@pytest.mark.requirement("SHOP-07")
def test_the_lists_name_what_there_is() -> None:
    """A renamed column would leave a condition that finds nothing."""
    for holding in HOLDINGS:
        assert set(holding.personal) <= set(TABLES[holding.table].columns.keys()), holding.table
    for name, columns in SEARCHED.items():
        assert set(columns) <= set(TABLES[name].columns.keys())
    assert set(HARMLESS) <= set(TABLES)
    for column in HARMLESS_COLUMNS:
        table, _, name = column.rpartition(".")
        assert is_telling(TABLES[table].columns[name]), column


@pytest.mark.requirement("SHOP-07")
def test_whatever_stays_says_what_for() -> None:
    assert all(
        holding.kept for holding in HOLDINGS if holding.erased is None or "UPDATE" in holding.erased
    )
