"""What a data engineer sees of segments: the metadata of a run, and each check passing and failing
on the same shop."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from core.clock import MovableClock
from core.database import SessionFactory
from core.models.enums import GateCheck
from core.settings import Settings
from orchestration.platform.defs.ingestion.checks import statistics_equal_orders
from orchestration.platform.defs.segmentation import assets, checks
from orchestration.shared.runtime import Runtime
from tests.activation.fake_provider import FakeProvider
from tests.activation.scores import people, score
from tests.activation.world import World
from tests.fixtures.marts import Marts

pytestmark = [
    pytest.mark.usefixtures("process_environment"),
    # Not deprecated in a run; the context of a direct call says so of its own.
    pytest.mark.filterwarnings("ignore:AssetExecutionContext.run_id:DeprecationWarning"),
]
RUN = "EPHEMERAL"  # the id of a direct call's context


class Soon(Runtime):
    """The runtime at the test's time, not the machine's."""

    @property
    def clock(self) -> MovableClock:
        return _clock


_clock: MovableClock


@pytest.fixture
def world(
    session_factory: SessionFactory, settings: Settings, clock: MovableClock, marts: Marts
) -> World:
    global _clock  # noqa: PLW0603 - a resource of Dagster holds no object of a test
    _clock = clock
    made = World(session_factory, settings, clock, FakeProvider())
    made.shop_id = made.add_shop(baseline_at=None)
    people(made, 20)
    return made


def run(world: World, marts: Marts) -> dict[str, Any]:
    marts.compute_boundaries(RUN, world.now)
    result = assets.segment_memberships(dg.build_asset_context(), runtime=Soon())
    assert isinstance(result, dg.MaterializeResult)
    assert result.metadata
    return {name: getattr(each, "value", each) for name, each in result.metadata.items()}


def table(value: Any) -> list[dict[str, Any]]:
    records = value.records if hasattr(value, "records") else value
    return [dict(record.data) for record in records]


@pytest.mark.requirement("RFM-05", "RFM-06")
def test_a_run_shows_sizes_boundaries_changes_and_how_long_it_took(
    world: World, marts: Marts
) -> None:
    shown = run(world, marts)
    assert (shown["shops"], shown["held"], shown["customers"], shown["entered"]) == (1, 0, 20, 20)
    assert sum(shown[name] for name in shown if name.startswith("members_")) == 20
    segments = table(shown["segments"])
    assert [row["segment"] for row in segments][:2] == ["champion", "loyal"]
    assert sum(row["members"] for row in segments) == 20
    assert {row["entered"] for row in segments} == {0}  # a baseline: nobody entered anything
    boundaries = table(shown["boundaries"])
    assert len(boundaries) == 12
    assert [(row["dimension"], row["score"]) for row in boundaries][:2] == [
        ("recency", 2),
        ("recency", 3),
    ]
    monetary = [float(row["from"]) for row in boundaries if row["dimension"] == "monetary"]
    assert monetary == sorted(monetary)
    [shop] = table(shown["by_shop"])
    assert (shop["gate"], shop["is_baseline"], shop["buyers"]) == ("accepted", True, 20)
    assert shown["seconds"] >= 0
    assert (shown["flap_rate"], shown["moves_in_30_days"]) == (0.0, 0)


@pytest.mark.requirement("RFM-06")
def test_a_held_run_shows_why(world: World, marts: Marts) -> None:
    world.execute(
        "UPDATE raw_shopify.customer_statistics SET order_count = 9 WHERE customer_id = 3"
    )
    shown = run(world, marts)
    assert (shown["held"], shown["entered"]) == (1, 0)
    [shop] = table(shown["by_shop"])
    assert shop["gate"] == "held"
    assert "statistics of 1 customers differ" in shop["reason"]


def lose_orders(world: World) -> None:
    world.execute("UPDATE raw_shopify.orders SET is_test = true WHERE order_id % 10 = 0")


def sell_abroad(world: World) -> None:
    world.execute("UPDATE raw_shopify.orders SET currency = 'USD' WHERE order_id % 10 = 0")


def forget_a_customer(world: World) -> None:
    world.execute("DELETE FROM raw_shopify.customers WHERE customer_id = 3")


def hold_segments(world: World) -> None:
    world.set_shop(
        segments_held_at=world.now,
        segments_held_check=GateCheck.ORDERS_FELL,
        segments_held_reason="There are 7 orders, 20 fewer.",
    )


def turn_upside_down(world: World) -> None:
    # Of a shop of 200 or more: the limit is theirs.
    world.execute(
        "INSERT INTO crm.segment_memberships (shop_id, customer_id, segment, entered_at, cause,"
        " r_score, f_score, m_score) SELECT :shop_id, number, 'lost', :now, 'order', 1, 1, 1"
        " FROM generate_series(1001, 1200) AS number",
        shop_id=world.shop_id,
        now=world.now,
    )
    world.add_customers(range(1001, 1201))


def miss_a_night(world: World) -> None:
    world.clock.advance(timedelta(hours=27))


BREAKS: list[tuple[Callable[..., Any], Callable[[World], None], dict[str, Any]]] = [
    (checks.rows_did_not_fall, lose_orders, {"customers": 20}),
    (checks.orders_are_in_the_shops_currency, sell_abroad, {"orders": 27}),
    (checks.keys_are_whole, forget_a_customer, {"members_unknown_to_the_marts": 1}),
    (checks.no_segments_are_held, hold_segments, {"held_shops": 1}),
    (checks.segments_do_not_swing, turn_upside_down, {"would_move": 200}),
    (checks.scored_within_a_day, miss_a_night, {"overdue_shops": 1}),
]


NAMED = [pytest.param(*each, id=each[1].__name__) for each in BREAKS]


@pytest.mark.requirement("RFM-06")
@pytest.mark.parametrize(("check", "break_it", "shown"), NAMED)
def test_each_check_passes_on_a_sound_shop_and_fails_on_a_broken_one(
    world: World,
    marts: Marts,
    check: Callable[..., Any],
    break_it: Callable[[World], None],
    shown: dict[str, Any],
) -> None:
    score(world, marts, "r1")
    sound = check(runtime=Soon())
    assert sound.passed, sound.metadata
    world.clock.advance(timedelta(hours=1, minutes=1))  # within the hour the gate's figures serve
    break_it(world)
    broken = check(runtime=Soon())
    assert not broken.passed
    found = {name: each.value for name, each in broken.metadata.items()}
    assert {name: found[name] for name in shown} == shown


def test_after_the_gate_its_figures_serve_and_a_fall_it_found_is_one(
    world: World, marts: Marts
) -> None:
    """The gate and two checks each read all five million orders, in one night."""
    asked: list[Callable[..., Any]] = [checks.rows_did_not_fall, statistics_equal_orders]
    fell, differ = asked
    score(world, marts, "r1")
    world.execute(
        "UPDATE raw_shopify.customer_statistics SET order_count = 9 WHERE customer_id = 3"
    )
    assert all(check(runtime=Soon()).passed for check in asked)  # what the gate has seen was right
    world.clock.advance(timedelta(days=1))
    score(world, marts, "r2")
    wrong = differ(runtime=Soon())
    assert (wrong.passed, wrong.metadata["customers_with_wrong_statistics"].value) == (False, 1)
    lose_orders(world)
    world.clock.advance(timedelta(days=1))
    score(world, marts, "r3")
    assert not fell(runtime=Soon()).passed


def test_checks_pass_on_a_shop_that_nobody_has_scored_and_without_marts(world: World) -> None:
    """The first run of an installation failed: a check read marts that dbt had yet to make."""
    world.execute("ALTER SCHEMA marts RENAME TO not_yet")
    try:
        for check, _, _ in BREAKS:
            assert check(runtime=Soon()).passed
    finally:
        world.execute("ALTER SCHEMA not_yet RENAME TO marts")


def test_the_checks_are_part_of_the_nightly_run_and_of_the_day() -> None:
    from orchestration.platform.definitions import defs  # noqa: PLC0415 - imports dagster_dbt

    repository = defs().get_repository_def()
    ours = {each.check_key for each in vars(checks).values() if hasattr(each, "check_key")}
    assert len(ours) == len(BREAKS)
    of_the_day = {checks.orders_are_in_the_shops_currency.check_key}
    nightly = repository.get_job("score_customers").asset_layer
    by_day = repository.get_job("check_segments").asset_layer
    assert ours - set(nightly.asset_graph.asset_check_keys) == of_the_day
    assert ours - set(by_day.asset_graph.asset_check_keys) == {checks.keys_are_whole.check_key}
    assert set(by_day.asset_graph.materializable_asset_keys) == set()
