import gzip
import json
from functools import cache
from pathlib import Path

import pytest
from graphql import GraphQLEnumType, GraphQLSchema, build_client_schema, parse, validate

from core.scopes import DISPENSABLE
from core.shopify.documents import bulk_query, load, names
from core.subscriptions import WEBHOOK_TOPICS
from ops.schema_file import VERSIONS


@cache
def schema(path: Path) -> GraphQLSchema:
    introspection = json.loads(gzip.decompress(path.read_bytes()))
    return build_client_schema(introspection.get("data", introspection), assume_valid=True)


def filled(name: str, version: str) -> str:
    """The document as it is sent to that version."""
    return bulk_query(name, "updated_at:>='2026-01-01T00:00:00Z'", version=version)


@pytest.mark.requirement("SHOP-02")
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", names())
def test_every_document_is_valid_in_every_supported_version_of_shopifys_own_schema(
    name: str, version: str, shopify_schemas: dict[str, Path]
) -> None:
    document = parse(filled(name, version))
    assert [error.message for error in validate(schema(shopify_schemas[version]), document)] == []


@pytest.mark.parametrize("name", ["bulk_orders", "orders_by_id"])
def test_a_field_is_asked_of_the_versions_that_have_it(name: str) -> None:
    """Orders could not be read at all with a supported version that lacks one of their fields."""
    assert "checkoutToken" not in load(name, "2026-04")
    assert "checkoutToken\n" in load(name, "2026-07")
    assert load(name, "2026-10") == load(name)


@pytest.mark.parametrize("name", names())
def test_a_document_without_what_a_scope_gives_is_valid_too(
    name: str, shopify_schemas: dict[str, Path]
) -> None:
    text = bulk_query(name, "", version="2026-07", without=DISPENSABLE)
    assert [
        error.message for error in validate(schema(shopify_schemas["2026-07"]), parse(text))
    ] == []
    assert "product { id }" not in text
    assert "#" not in text


@pytest.mark.parametrize("name", ["bulk_orders", "orders_by_id", "bulk_checkouts"])
def test_lines_name_their_products_where_the_app_may_read_them(name: str) -> None:
    assert "product { id }\n" in load(name)
    assert "product { id }\n" in load(name, without=frozenset({"read_customers"}))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_document_with_a_wrong_field_would_be_found(
    version: str, shopify_schemas: dict[str, Path]
) -> None:
    assert validate(schema(shopify_schemas[version]), parse("{ shop { nmae } }"))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_topic_is_one_of_shopifys(version: str, shopify_schemas: dict[str, Path]) -> None:
    topics = schema(shopify_schemas[version]).get_type("WebhookSubscriptionTopic")
    assert isinstance(topics, GraphQLEnumType)
    assert set(WEBHOOK_TOPICS) <= set(topics.values)


@pytest.mark.parametrize("name", [name for name in names() if name.startswith("bulk_c")])
def test_a_bulk_query_is_small_and_has_its_window_once(name: str) -> None:
    query = bulk_query(name, "updated_at:>='2026-01-01T00:00:00Z'")
    assert query.count("updated_at") == 1
    assert "$filter$" not in query
    assert "#" not in query
    assert len(query.encode()) < 65_535
