"""The shop that plays by itself: believable, repeatable, and no trouble to the oracle."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from sandbox.clock import ManualClock
from sandbox.open_shop import open_shop
from sandbox.simulated_life import _LIFE, NOTHING
from sandbox.simulator import Pace, Simulator, happened, play_one, weight_at
from tests.sandbox.support import DOMAIN, Running, wait_for
from tests.sandbox.test_front import SAME_SITE
from tests.sandbox.town import SINCE, Town, town_in

URL = f"/_sandbox/shops/{DOMAIN}/simulator"
MINUTE = 60.0


def play(town: Town, occasions: int, *, apart: float = 4 * MINUTE) -> dict[str, int]:
    """Lets so much happen; how often each thing did."""
    for _ in range(occasions):
        town.now += apart
        with town.shop() as shop:
            play_one(shop)
    with town.store.read() as db:
        return happened(db, 1)


def contents(town: Town) -> list[Any]:
    with town.store.read() as db:
        return [
            [tuple(row) for row in db.execute(f"select * from {table} order by 1, 2, 3")]
            for table in ("customers", "orders", "line_items", "checkouts", "former_customers")
        ]


def test_everything_happens_in_a_believable_measure(tmp_path: Path) -> None:
    with town_in(tmp_path, customers=100, orders=300) as town:
        done = Counter(play(town, 2000))
        with town.store.read() as db:
            rows = db.execute(
                "select customer, count(*) as orders from orders where placed_at > 0 group by 1"
            ).fetchall()
            left, bought = db.execute(
                "select count(*) filter (where completed_at is null), count(completed_at)"
                " from checkouts"
            ).fetchone()
    assert set(_LIFE) <= set(done)
    assert done[NOTHING] < 2000 * 0.05
    assert 0.35 < (done["order"] + done["checkout_completed"]) / done.total() < 0.5
    by_buyer = [row["orders"] for row in rows if row["customer"] is not None]
    assert len(by_buyer) > 250
    assert sum(count > 1 for count in by_buyer) > len(by_buyer) * 0.15
    assert any(row["customer"] is None for row in rows)
    assert 0 < bought < left


def test_the_same_seed_plays_the_same_shop(tmp_path: Path) -> None:
    worlds = []
    for name in ("one", "two"):
        with town_in(tmp_path / name) as town:
            play(town, 150)
            worlds.append(contents(town))
    assert worlds[0] == worlds[1]


def test_what_was_bought_are_the_things_of_the_shop(tmp_path: Path) -> None:
    with town_in(tmp_path) as town:
        play(town, 60)
        with town.store.read() as db:
            titles = db.execute(
                "select distinct cast(body as text) ->> '$.title' from line_items"
            ).fetchall()
    assert [title for (title,) in titles] == ["Salt & Pepper 50/50"]


@pytest.mark.requirement("EMAIL-02")
@pytest.mark.parametrize("seed", range(3))
def test_the_oracle_stays_right_while_the_shop_plays(tmp_path: Path, seed: int) -> None:
    """A product that mails each owed customer once, an hour after their order."""
    with town_in(tmp_path, customers=40, orders=60) as town:
        with town.store.write() as db:
            pace = orjson.dumps({"seed": seed}).decode()
            db.execute("insert into settings values ('simulator.1', ?)", [pace])
        mailed: set[str] = set()
        for _ in range(700):
            play(town, 1, apart=3 * MINUTE)
            mail_who_is_due(town, mailed)
        town.now += 60 * MINUTE
        mail_who_is_due(town, mailed)
        found = town.verdict()
    assert found["details"] == []
    assert found["emails_accepted"] == len(mailed) > 40
    assert found["emails_expected"] > 0


def mail_who_is_due(town: Town, mailed: set[str]) -> None:
    with town.store.read() as db:
        due = db.execute(
            """select email from customers
               join orders on orders.customer = customers.num
               where consent = 'SUBSCRIBED' and is_counted
               group by customers.num having min(processed_at) between ? and ?""",
            [SINCE, town.now - 60 * MINUTE],
        ).fetchall()
    for email in sorted({email for (email,) in due} - mailed):
        mailed.add(email)
        town.mail(email)


# ------------------------------------------------------------------ pace


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(SINCE)


@pytest.fixture
def still(start: Callable[..., Any], folder: Path, clock: ManualClock) -> Any:
    """A sandbox whose time stands still, with the shop."""
    with start(clock=clock) as sandbox:
        assert sandbox.load(folder).status_code == 201
        yield sandbox


def test_as_many_orders_come_as_the_rate_says(still: Running, clock: ManualClock) -> None:
    simulator = Simulator(still.world)
    simulator.set(DOMAIN, Pace(orders_per_hour=360.0))
    played = 0
    for _ in range(900):
        clock.move(1)
        played += simulator.play_due()
    # 90 orders in the quarter of an hour and 129 other occasions; chance moves it by 15.
    assert 160 < played < 280


def test_nothing_happens_without_a_rate(still: Running, clock: ManualClock) -> None:
    simulator = Simulator(still.world)
    for _ in range(50):
        clock.move(60)
        assert simulator.play_due() == 0


def test_a_knob_plays_every_shop_that_has_no_rate_of_its_own(
    still: Running, clock: ManualClock
) -> None:
    simulator = Simulator(still.world)
    still.world.faults.set({"simulator_orders_per_hour": 3600.0})
    assert simulator.report(DOMAIN)["orders_per_hour"] == 3600
    simulator.set(DOMAIN, Pace(orders_per_hour=0.0))
    clock.move(60)
    assert simulator.play_due() == 0
    simulator.set(DOMAIN, Pace())
    assert simulator.report(DOMAIN)["orders_per_hour"] == 3600


def test_what_was_missed_while_the_machine_slept_does_not_come_all_at_once(
    still: Running, clock: ManualClock
) -> None:
    simulator = Simulator(still.world)
    simulator.set(DOMAIN, Pace(orders_per_hour=3600.0))
    simulator.play_due()
    clock.move(86_400)
    assert simulator.play_due() < 60


def test_a_busy_hour_has_more_orders_than_a_quiet_one_in_the_shops_own_day() -> None:
    noon = 1_767_265_200.0  # 2026-01-01 12:00 in Berlin
    night = noon - 9 * 3600
    assert weight_at(night, "Europe/Berlin") < 0.2
    assert weight_at(noon, "Europe/Berlin") > 1
    day = [weight_at(noon + hour * 3600, "Europe/Berlin") for hour in range(24)]
    assert sum(day) == pytest.approx(24)


# ------------------------------------------------------------------ from outside


def test_it_runs_by_itself_and_its_webhooks_go_out(shop: Running) -> None:
    shop.subscribe("ORDERS_CREATE")
    answer = shop.client.post(URL, json={"orders_per_hour": 36_000, "seed": 5})
    assert answer.json()["orders_per_hour"] == 36_000
    wait_for(lambda: shop.receiver.on("/shopify"))
    stopped = shop.client.post(URL, json={"orders_per_hour": 0}).json()
    assert sum(shop.client.get(URL).json()["happened"].values()) > 0
    assert stopped["orders_per_hour"] == 0
    wait_for(lambda: shop.client.get(URL).json() == shop.client.get(URL).json())


def test_rate_and_counters_outlive_the_process(
    start: Callable[..., Any], folder: Path, clock: ManualClock
) -> None:
    with start(clock=clock) as sandbox:
        sandbox.load(folder)
        sandbox.client.post(URL, json={"orders_per_hour": 90, "business_hours": True})
        with open_shop(sandbox.world, DOMAIN) as shop:
            play_one(shop)
    with start(clock=clock) as sandbox:
        said = sandbox.client.get(URL).json()
    assert (said["orders_per_hour"], said["business_hours"]) == (90, True)
    assert sum(said["happened"].values()) == 1


def test_it_is_started_and_stopped_on_the_first_page(still: Running) -> None:
    form = {"shop": DOMAIN, "orders_per_hour": "60"}
    assert "Start, 60 orders an hour" in still.client.get("/").text
    assert still.client.post("/simulator", data=form, headers=SAME_SITE).status_code == 303
    page = still.client.get("/").text
    assert "about 60 orders an hour" in page
    assert "Stop</button>" in page
    stop = form | {"orders_per_hour": "0"}
    still.client.post("/simulator", data=stop, headers=SAME_SITE)
    assert "Stop</button>" not in still.client.get("/").text


def test_the_first_page_says_what_happened(still: Running) -> None:
    with open_shop(still.world, DOMAIN) as shop:
        shop.db.execute("insert into simulated values (1, 'checkout_left', 1234)")
    assert "checkout left 1,234" in still.client.get("/").text


def test_another_page_cannot_start_it(quiet_shop: Running) -> None:
    form = {"shop": DOMAIN, "orders_per_hour": "60"}
    answer = quiet_shop.client.post(
        "/simulator", data=form, headers={"Sec-Fetch-Site": "cross-site"}
    )
    assert answer.status_code == 403
    assert quiet_shop.client.get("/simulator").headers["location"] == "/"
    assert quiet_shop.client.get(URL).json()["orders_per_hour"] == 0


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"orders_per_hour": -1}, "orders_per_hour"),
        ({"orders_per_hour": "60"}, "orders_per_hour"),
        ({"orders_per_hour": 1e9}, "at most 36000"),
        ({"seed": -1}, "seed"),
        ({"business_hours": 1}, "true or false"),
        ({"speed": 1}, "unknown: speed"),
    ],
)
def test_a_pace_asked_wrongly_is_refused(
    quiet_shop: Running, asked: dict[str, Any], words: str
) -> None:
    answer = quiet_shop.client.post(URL, json=asked)
    assert answer.status_code == 422
    assert words in answer.json()["error"]


def test_a_shop_that_is_not_loaded_is_not_played(quiet_shop: Running) -> None:
    url = URL.replace(DOMAIN, "no.myshopify.com")
    assert quiet_shop.client.get(url).status_code == 404
    assert quiet_shop.client.post(url, json={"orders_per_hour": 1}).status_code == 404
