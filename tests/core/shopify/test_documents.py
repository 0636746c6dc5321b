import gzip
import json
from functools import cache
from pathlib import Path

import pytest
from graphql import GraphQLSchema, build_client_schema, parse, validate

from core.shopify.documents import bulk_query, load, names


@cache
def schema(path: Path) -> GraphQLSchema:
    introspection = json.loads(gzip.decompress(path.read_bytes()))
    return build_client_schema(introspection.get("data", introspection), assume_valid=True)


@pytest.mark.requirement("SHOP-02")
@pytest.mark.parametrize("name", names())
def test_every_document_is_valid_in_shopifys_own_schema(
    name: str, shopify_schema_path: Path
) -> None:
    text = load(name).replace("$filter$", "updated_at:>='2026-01-01T00:00:00Z'")
    assert validate(schema(shopify_schema_path), parse(text)) == []


def test_a_document_with_a_wrong_field_would_be_found(shopify_schema_path: Path) -> None:
    wrong = parse("{ shop { nmae } }")
    assert [error.message for error in validate(schema(shopify_schema_path), wrong)]


@pytest.mark.parametrize("name", [name for name in names() if name.startswith("bulk_c")])
def test_a_bulk_query_is_small_and_has_its_window_once(name: str) -> None:
    query = bulk_query(name, "updated_at:>='2026-01-01T00:00:00Z'")
    assert query.count("updated_at") == 1
    assert "$filter$" not in query
    assert "#" not in query
    assert len(query.encode()) < 65_535
