"""A backtest against what the engine really did in those days, person by person."""

from typing import Any

import pytest

from activation.automation.backtest import Backtest, backtest, backtest_json
from activation.automation.presets import PRESETS
from activation.automation.switching import load_automations, switch_on
from core.database import session_scope
from tests.activation.automation.life import Life, what_became
from tests.activation.scores import score
from tests.activation.world import World
from tests.fixtures.marts import Marts

COMPARED = {preset.key for preset in PRESETS}


def run(world: World, key: str, life: Life) -> Backtest:
    with session_scope(world.factory) as session:
        [flow] = [f for f in load_automations(session, world.shop_id) if f.key == key]
        return backtest(
            session,
            world.shop_id,
            key,
            flow.definition,
            since=life.start,
            until=life.end,
            secret_key=world.settings.secret_key,
        )


def as_played(done: Backtest) -> dict[tuple[int, str], tuple[str, Any]]:
    return {
        (each.entry.customer_id, each.entry.entry_key): (
            each.result,
            each.at if each.result == "sent" else None,
        )
        for each in done.outcomes
    }


@pytest.fixture
def life(world: World, marts: Marts) -> Life:
    """A month with all presets on, which nobody had been in before."""
    life = Life(world, marts, days=30, seed=7)
    life.people()
    score(world, marts, "rfm-0")
    world.run_cleanly()
    with session_scope(world.factory) as session:
        for preset in PRESETS:
            switch_on(session, world.shop_id, preset.key, now=world.now, include_silent=False)
    life.plan()
    life.live()
    return life


@pytest.mark.requirement("FLOW-01", "FLOW-02", "FLOW-03", "FLOW-04", "FLOW-05")
def test_a_month_with_all_flows_on_and_the_backtests_of_it_agree_person_by_person(
    world: World, life: Life
) -> None:
    entered = set()
    compared = [preset for preset in PRESETS if preset.key in COMPARED]
    for preset in compared:
        done = run(world, preset.key, life)
        lived = what_became(world, preset.key)
        assert as_played(done) == lived, preset.key
        entered |= {preset.key for _ in lived}
        assert done.entries == len(lived) == sum(each.entries for each in done.days)
        sent = [became for became, _ in lived.values() if became == "sent"]
        assert done.would_send == len(sent) == sum(each.mails for each in done.days)
        assert len(done.days) in (30, 31)
        assert backtest_json(done)["entries"] == done.entries
    assert entered == COMPARED, "the month shows nothing of the others"
