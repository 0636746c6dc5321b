"""The demo's shop lives: orders are played at first, and as the user left them afterwards."""

from collections.abc import Callable
from typing import Any, Self

import pytest

from ops import demo
from ops.demo import ORDERS_PER_HOUR, Demo, play_orders, ready_text
from ops.home import Home, HomeKind
from ops.ports import free_ports
from ops.shops import SyncResult
from ops.world import open_world

SYNC = SyncResult("demo.myshopify.com", "full", 1, 1, 1, 0, 1.0)
MakeDemo = Callable[[SyncResult | None], Demo]


class Told:
    """In place of the sandbox's control calls."""

    paces: list[tuple[str, float]]

    def __init__(self) -> None:
        self.paces = []

    def __call__(self, _url: str) -> "Told":
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def play_orders(self, domain: str, *, per_hour: float) -> None:
        self.paces.append((domain, per_hour))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    sandbox = Told()
    monkeypatch.setattr(demo, "SandboxApi", sandbox)
    return sandbox


@pytest.fixture
def make_demo(home: Home) -> MakeDemo:
    world = open_world(home, HomeKind.DEMO, environ=free_ports())
    return lambda sync: Demo(world, "demo.myshopify.com", None, sync, 1.0)


@pytest.mark.parametrize(
    ("sync", "asked", "played", "said"),
    [
        (SYNC, None, ORDERS_PER_HOUR, "about 60 an hour are played"),
        (None, None, None, "as they were before"),
        (SYNC, 0.0, 0.0, "none but yours"),
        (None, 5.0, 5.0, "about 5 an hour"),
    ],
)
def test_orders_are_played_as_asked_and_by_themselves_only_at_the_first_start(
    told: Told,
    make_demo: MakeDemo,
    *,
    sync: SyncResult | None,
    asked: float | None,
    played: float | None,
    said: str,
) -> None:
    result: Any = play_orders(make_demo(sync), per_hour=asked)
    assert told.paces == ([] if played is None else [("demo.myshopify.com", played)])
    assert said in ready_text(result, seconds=1)
