"""What a bulk query's search text finds."""

import pytest

from tests.sandbox.support import Running, document, run

ORDERS = document("bulk_orders").replace("$sort$", "UPDATED_AT")
CUSTOMERS = document("bulk_customers")
CHECKOUTS = document("bulk_checkouts")


@pytest.mark.parametrize(
    ("filter_", "count"),
    [
        ("updated_at:>='2026-03-10T15:00:00Z'", 4),
        ("updated_at:>'2026-03-10T15:00:00Z'", 3),
        ("updated_at:>=2026-03-10 AND updated_at:<'2026-03-12T00:00:00Z'", 2),
        ("created_at:2026-03-10", 1),
        ("", 12),
        ("updated_at:<'2026-03-04T15:00:00Z'", 2),
        ("updated_at:<='2026-03-04T15:00:00Z'", 3),
        ("updated_at:'2026-03-04T15:00:00Z'", 1),
        ("updated_at:'2026-03-04T15:00:01Z'", 0),
        ("processed_at:>='2026-03-12T00:00:00Z'", 2),
        ("id:>10", 2),
        ("id:>=10 id:<12", 2),
        ("id:3", 1),
        ("id:<=99999999999999999999", 12),
        (
            "(updated_at:>'2026-03-10T15:00:00Z') OR (updated_at:'2026-03-10T15:00:00Z' AND id:>8)",
            4,
        ),
        (
            "(updated_at:>'2026-03-10T15:00:00Z') OR (updated_at:'2026-03-10T15:00:00Z' AND id:>9)",
            3,
        ),
        ("id:1 OR id:2 AND id:3", 1),
        ("(id:1 OR id:2) AND (id:2 OR (id:3))", 1),
    ],
)
def test_the_search_text_narrows_the_orders(quiet_shop: Running, filter_: str, count: int) -> None:
    assert run(quiet_shop, ORDERS, filter_)["rootObjectCount"] == str(count)


@pytest.mark.parametrize(
    ("search", "count"), [("recovery_state:recovered", 2), ("recovery_state:not_recovered", 2)]
)
def test_checkouts_are_told_apart_by_their_recovery(
    quiet_shop: Running, search: str, count: int
) -> None:
    assert run(quiet_shop, CHECKOUTS, search)["rootObjectCount"] == str(count)


@pytest.mark.requirement("SHOP-02")
def test_what_is_found_goes_by_the_time_that_is_shown(shop: Running) -> None:
    # A time kept with a fraction is shown without: the keyset (time, id) would have lost the rows
    # of that second.
    with shop.world.store.write() as db:
        db.execute("update orders set updated_at = updated_at + 0.7 where num = 5")
    second = "2026-03-06T15:00:00Z"
    keyset = f"(updated_at:>'{second}') OR (updated_at:'{second}' AND id:>4)"
    assert run(shop, ORDERS, f"updated_at:>'{second}'")["rootObjectCount"] == "7"
    assert run(shop, ORDERS, f"updated_at:<='{second}'")["rootObjectCount"] == "5"
    assert run(shop, ORDERS, keyset)["rootObjectCount"] == "8"


def test_customers_match_whole_days(quiet_shop: Running) -> None:
    assert run(quiet_shop, CUSTOMERS, "updated_at:>'2026-03-04T23:00:00Z'")["objectCount"] == "3"
