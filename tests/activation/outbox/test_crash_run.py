"""`make crash` in short, and two of its controls: processes, kills, counts at the stand-in."""

import pytest
from sqlalchemy import Engine

from benchmarks.crash import Plan, holds, run
from benchmarks.crash_worker import STEPS

pytestmark = [pytest.mark.processes, pytest.mark.requirement("AUTO-05")]


def test_killed_workers_neither_double_nor_lose_a_mail(engine: Engine, database_url: str) -> None:
    plan = Plan(messages=400, kills=20, workers=4, batch_size=10, leaves_every=0.2)
    said = run(plan, database_url)
    assert holds(said), said
    assert (said["duplicates"], said["lost"], said["over_limit_seconds"]) == (0, 0, 0)
    assert said["accepted"] + said["skipped"] == said["messages"] == 400
    assert len(said["kills_by_step"].keys() & set(STEPS)) >= 8
    assert sum(said["faults"].values()) >= 3
    assert said["events"] > 0
    assert said["unsubscribed"] > 0


def test_the_run_sees_mails_that_are_sent_twice(engine: Engine, database_url: str) -> None:
    """The control: a new key for each retry, as most senders have it. Nobody leaves meanwhile: once
    so many had that the batch which came twice held nine.
    """
    plan = Plan(
        *(40, 2, 2, 10),
        seed=2,
        sabotage="new_key",
        steps=("answered",),
        leaves_every=1_000,
        longest_seconds=60,
    )
    said = run(plan, database_url)
    assert said["unsubscribed"] == 0
    assert said["duplicates"] >= 10, said
    assert not holds(said)


@pytest.mark.requirement("EMAIL-02")
def test_the_run_sees_mails_to_people_who_had_left(engine: Engine, database_url: str) -> None:
    """The control: nobody looks at eligibility again after the freeze."""
    plan = Plan(
        *(80, 2, 2, 10),
        seed=4,
        sabotage="late_eligibility",
        steps=("frozen",),
        leaves_every=0.05,
        longest_seconds=60,
    )
    said = run(plan, database_url)
    assert said["forbidden"] >= 1, said
    assert said["duplicates"] == said["lost"] == 0
    assert not holds(said)
