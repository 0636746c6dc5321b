"""A checkout deleted before a file tells of it: Shopify names it by its id, and nothing else."""

import pytest

from core.database import SessionFactory
from core.models import Shop
from core.models.enums import ObjectType
from tests.core.ingestion.conftest import Post, Rows
from tests.core.ingestion.test_webhook_topics import TRIGGERED, checkout
from tests.fixtures.loads import load
from tests.fixtures.shopify import checkout_child, checkout_node

HELD = "SELECT checkout_key, checkout_id, deleted_at FROM raw_shopify.checkouts ORDER BY 1"


@pytest.mark.requirement("SHOP-02", "SHOP-06")
@pytest.mark.parametrize("deletions", [[0], [1], [2], [0, 2]])
def test_a_checkout_of_a_file_that_was_deleted_before_or_after_is_hidden(
    session_factory: SessionFactory, shop: Shop, post: Post, rows: Rows, deletions: list[int]
) -> None:
    """Between the webhooks of it and a file made before its end, wherever the deletion comes."""
    lines = [checkout_node(5, 1), checkout_child(5, 51), checkout_node(6, 1)]
    for place in range(3):
        if place in deletions:
            assert post({"id": 5}, "checkouts/delete").status == 200
        load(session_factory, shop.shop_id, lines, ObjectType.CHECKOUT)
    assert rows(HELD) == [("token5", 5, TRIGGERED), ("token6", 6, None)]


def test_a_checkout_whose_id_only_a_file_tells_is_hidden_once_it_is_known(
    session_factory: SessionFactory, shop: Shop, post: Post, rows: Rows
) -> None:
    """The webhook's name is no id here, and it tells a later state than the file."""
    post({"id": 5}, "checkouts/delete")
    post(checkout("token5", 1, "2026-11-29T00:00:00Z", name="#C5"), "checkouts/create")
    assert rows(HELD) == [("token5", None, None)]
    load(session_factory, shop.shop_id, [checkout_node(5, 1)], ObjectType.CHECKOUT)
    assert rows(HELD) == [("token5", 5, TRIGGERED)]
