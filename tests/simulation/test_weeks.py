"""Weeks of a shop in seconds: everything by chance, and nothing missed, doubled or forbidden."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta

import pytest

from sandbox import shopkeeper
from tests.simulation.people import a_newcomer
from tests.simulation.played import Played
from tests.simulation.sabotage import DOUBLE, DROP, UNSUBSCRIBED

Begin = Callable[..., AbstractContextManager[Played]]


@pytest.mark.requirement("FLOW-01")
@pytest.mark.requirement("FLOW-02")
@pytest.mark.requirement("FLOW-05")
@pytest.mark.requirement("AUTO-05")
def test_a_week_over_the_end_of_summer_time_owes_what_is_sent(begin: Begin) -> None:
    with begin(datetime(2026, 10, 21, 9, tzinfo=UTC), seed=4, per_hour=0.6) as played:
        played.play(days=7, each=timedelta(hours=6))
        verdict = played.verdict()
    assert (verdict.twice, verdict.missed, verdict.forbidden) == (0, 0, 0), verdict.details
    assert {"welcome", "abandoned_cart", "vip"} <= set(verdict.by_flow)
    assert verdict.accepted >= verdict.expected > 20


@pytest.mark.parametrize("sabotage", [DROP, DOUBLE, UNSUBSCRIBED])
def test_a_fault_built_in_on_purpose_is_noticed(begin: Begin, sabotage: str) -> None:
    with begin(datetime(2026, 9, 14, 7, tzinfo=UTC), seed=1, sabotage=sabotage) as played:
        for _ in range(4):
            with played.shop() as shop:
                _, leaves = a_newcomer(shop), a_newcomer(shop)
            played.pass_time(timedelta(minutes=5))
            played.step()
            with played.shop() as shop:
                shopkeeper.set_consent(shop, leaves, "UNSUBSCRIBED")
            played.pass_time(timedelta(minutes=65))
            played.step()
        verdict = played.verdict()
    assert verdict.expected >= 4
    kinds = {(detail["kind"], detail["reason"]) for detail in verdict.details}
    if sabotage == DROP:
        assert verdict.missed
        assert verdict.forbidden == verdict.twice == 0
    elif sabotage == DOUBLE:
        assert ("twice", "not owed") in kinds or ("forbidden", "it was one too many") in kinds
        assert verdict.missed == 0
    else:
        assert kinds == {("forbidden", "consent was UNSUBSCRIBED")}
        assert verdict.forbidden == 4
