"""Scores of a million customers with five million orders, against SQL written by hand.

floor: one statement that writes everybody's scores and segment, by NTILE with the tie rule, over
the same statistics, for one shop and without boundaries. ours: boundaries as dbt computes them,
and everybody's scores and segment read from the view by them into such a table. `memberships`:
stays of all brought in line after a day's orders of one customer in fifty, `moved` of whom
changed; `diff`: the same again, when everybody is compared and nobody moves. `run`: the whole
nightly run as a Dagster process, with its start, its dbt and its tests, against the floor and
against the same steps in plain SQL (statistics checked against all orders, boundaries, scores,
memberships). `mismatches`: scores, of ours and of the floor, that numpy works out otherwise from
the orders. `exponent`: of the time in the number of customers, from a fifth to all; 1 is linear.

ECOMCRM_BENCH_QUICK=1 takes a tenth of the customers and one round.
"""

import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import psycopg

from activation.memberships import apply_membership_changes
from activation.scoring import decide_and_apply
from benchmarks.rfm_build import NOW, SHOP_ID, Town, towns
from benchmarks.rfm_oracle import Scores, score_orders
from core.database import session_scope
from core.ingestion import statistics as order_statistics
from core.models.enums import MembershipCause
from ops.progress import Progress

IS_QUICK = os.environ.get("ECOMCRM_BENCH_QUICK", "") not in ("", "0")
CUSTOMERS = 100_000 if IS_QUICK else 1_000_000
ROUNDS = 1 if IS_QUICK else 3
ROW = np.dtype(
    [("fields", ">i2")]
    + [
        (f"{kind}{at}", ">i4" if kind == "size" else ">i8")
        for at in range(3)
        for kind in ("size", "value")
    ]
)

FLOOR = """
CREATE UNLOGGED TABLE bench_floor AS
WITH buyers AS (
    SELECT customer_id, last_order_at, order_count, total_spent
    FROM raw_shopify.customer_statistics
    INNER JOIN raw_shopify.customers USING (shop_id, customer_id)
    WHERE shop_id = 1 AND order_count > 0 AND deleted_at IS NULL
),
r AS (SELECT *, ntile(5) OVER (ORDER BY last_order_at) AS bucket FROM buyers),
f AS (
    SELECT customer_id, order_count, total_spent, r_score,
        ntile(5) OVER (ORDER BY order_count) AS bucket
    FROM (SELECT *, min(bucket) OVER (PARTITION BY last_order_at) AS r_score FROM r) AS scored
),
m AS (
    SELECT customer_id, total_spent, r_score, f_score,
        ntile(5) OVER (ORDER BY total_spent) AS bucket
    FROM (SELECT *, min(bucket) OVER (PARTITION BY order_count) AS f_score FROM f) AS scored
)
SELECT customer_id, r_score, f_score, m_score, segment
FROM (SELECT *, min(bucket) OVER (PARTITION BY total_spent) AS m_score FROM m) AS scored
INNER JOIN intermediate.rfm_segments USING (r_score, f_score, m_score)
"""
OURS = """
CREATE UNLOGGED TABLE bench_ours AS
SELECT customer_id, r_score, f_score, m_score, segment, is_scored
FROM marts.customer_segments
WHERE shop_id = 1
"""
ACCEPT = """
INSERT INTO crm.rfm_runs (shop_id, rfm_run_id, state, customer_count, buyer_count, order_count,
    computed_at, decided_at)
VALUES (1, %s, 'accepted', 0, 5, 0, %s, %s)
"""
# One customer in fifty orders again: statistics and orders together, as ingestion keeps them.
ORDERS = """
WITH placed AS (
    INSERT INTO raw_shopify.orders (shop_id, order_id, name, customer_id, created_at, updated_at,
        processed_at, is_test, financial_status, currency, current_total, original_total,
        refunded_total)
    SELECT 1, 900000000 + %(round)s * 1000000 + row_number() OVER (), '#', customer_id, %(at)s,
        %(at)s, %(at)s, false, 'PAID', 'EUR', 24.95, 24.95, 0
    FROM raw_shopify.customers
    WHERE customer_id %% 50 = %(round)s
    RETURNING customer_id
)
INSERT INTO raw_shopify.customer_statistics AS stored (shop_id, customer_id, order_count,
    total_spent, first_order_at, last_order_at)
SELECT 1, customer_id, 1, 24.95, %(at)s, %(at)s FROM placed
ON CONFLICT (shop_id, customer_id) DO UPDATE SET
    order_count = stored.order_count + 1, total_spent = stored.total_spent + 24.95,
    first_order_at = coalesce(stored.first_order_at, %(at)s), last_order_at = %(at)s
"""
COUNTED = """
COPY (
    SELECT customer_id, (extract(epoch FROM processed_at) * 1000000)::bigint,
        (current_total * 10000)::bigint
    FROM raw_shopify.orders
    WHERE shop_id = 1 AND customer_id IS NOT NULL AND NOT is_test
) TO STDOUT (FORMAT binary)
"""


def run() -> dict[str, object]:
    """Seconds, medians of ROUNDS rounds."""
    progress = Progress()
    with towns([CUSTOMERS // 5, CUSTOMERS], progress) as (small, large):
        measured = {town.customers: _Measured(town) for town in (small, large)}
        for town in measured.values():
            town.prepare()
        for number in range(ROUNDS):
            for town in measured.values():
                town.round(number + 1)
                progress.say(f"round {number + 1} of {town.town.customers}: {town.last()}")
    return _result(measured[CUSTOMERS // 5], measured[CUSTOMERS])


class _Measured:
    """Seconds of each thing measured in one database, round by round."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.factory = town.factory()
        self.seconds: dict[str, list[float]] = {}
        self.mismatches = 0
        self.moved = 0

    def prepare(self) -> None:
        """The baseline: everybody's first membership."""
        with self._connected() as connection:
            self.town.compute_boundaries(connection, "baseline")
        report = decide_and_apply(
            self.factory, shop_id=SHOP_ID, rfm_run_id="baseline", now=NOW, run_id=None
        )
        assert report.entered == self.town.customers, report

    def round(self, number: int) -> None:
        at = NOW + timedelta(days=number)
        with self._connected() as connection:
            connection.execute(ORDERS, {"round": number, "at": at})
        self._settle()
        with self._connected() as connection:
            self._time("floor", lambda: connection.execute(FLOOR))
        with self._connected() as connection:
            self._time(
                "boundaries", lambda: self.town.compute_boundaries(connection, f"run-{number}")
            )
            connection.execute(ACCEPT, (f"run-{number}", at, at))
        with self._connected() as connection:
            self._time("scores", lambda: connection.execute(OURS))
        self.mismatches += self._mismatches()
        self._time("memberships", lambda: self._apply(number))
        self._time("diff", lambda: self._apply(number))
        self._time("check", self._check)
        self._settle()
        self._note("run", self.town.run_job())

    def last(self) -> str:
        return ", ".join(f"{name} {seconds[-1]:.2f} s" for name, seconds in self.seconds.items())

    def median(self, *names: str) -> float:
        return sum(statistics.median(self.seconds[name]) for name in names)

    def ratio(self, ours: tuple[str, ...], theirs: tuple[str, ...]) -> float:
        """Median over the rounds, each round against itself."""
        rounds = range(len(self.seconds["floor"]))
        return statistics.median(
            sum(self.seconds[name][at] for name in ours)
            / sum(self.seconds[name][at] for name in theirs)
            for at in rounds
        )

    def _apply(self, number: int) -> None:
        with session_scope(self.factory) as session:
            report = apply_membership_changes(
                session,
                SHOP_ID,
                customer_ids=None,
                now=NOW + timedelta(days=number),
                cause=MembershipCause.FULL_RUN,
                run_id="bench",
            )
        self.moved = max(self.moved, report.entered)

    def _check(self) -> None:
        with session_scope(self.factory) as session:
            assert order_statistics.mismatches(session, SHOP_ID) == 0

    def _mismatches(self) -> int:
        """Rows of both tables that numpy contradicts, or that are missing or too many."""
        with self._connected() as connection:
            expected = _by_numpy(connection)
            wrong = 0
            for table, where in (("bench_floor", "true"), ("bench_ours", "is_scored")):
                sql = f"SELECT customer_id, r_score, f_score, m_score, segment FROM {table}"
                rows = connection.execute(f"{sql} WHERE {where}".encode()).fetchall()
                wrong += len(set(rows) ^ expected)
                connection.execute(f"DROP TABLE {table}".encode())
        return wrong

    def _settle(self) -> None:
        with psycopg.connect(self.town.url, autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE)")

    def _time(self, name: str, work: Callable[[], Any]) -> None:
        began = time.perf_counter()
        work()
        self._note(name, time.perf_counter() - began)

    def _note(self, name: str, seconds: float) -> None:
        self.seconds.setdefault(name, []).append(seconds)

    @contextmanager
    def _connected(self) -> Iterator[psycopg.Connection]:
        with psycopg.connect(self.town.url) as connection:
            yield connection


def _by_numpy(connection: psycopg.Connection) -> set[tuple[Any, ...]]:
    """Every buyer's row from the orders. Binary COPY: three numbers a row, all of one width."""
    with connection.cursor().copy(COUNTED.encode()) as copy:
        content = b"".join(bytes(part) for part in copy)
    header, trailer = 19, 2
    rows = np.frombuffer(content[header:-trailer], dtype=ROW)
    columns = [rows[f"value{at}"].astype(np.int64) for at in range(3)]
    scores: Scores = score_orders(*columns)
    return set(
        zip(
            scores.customer_ids.tolist(),
            scores.r.tolist(),
            scores.f.tolist(),
            scores.m.tolist(),
            scores.segments.tolist(),
            strict=True,
        )
    )


def _result(small: _Measured, large: _Measured) -> dict[str, object]:
    ours, steps = ("boundaries", "scores"), ("check", "boundaries", "scores", "memberships")

    def exponent(*names: str) -> float:
        times = large.town.customers / small.town.customers
        return round(math.log(large.median(*names) / small.median(*names), times), 2)

    return {
        "n": large.town.customers,
        "repeats": ROUNDS,
        "value": round(large.median(*ours), 2),
        "unit": "s",
        "floor": round(large.median("floor"), 2),
        "ratio": round(large.ratio(ours, ("floor",)), 2),
        "peer": None,
        "peer_ratio": None,
        "moved": large.moved,
        "mismatches": small.mismatches + large.mismatches,
        "seconds": {name: round(large.median(name), 2) for name in large.seconds},
        "run_ratio": round(large.ratio(("run",), ("floor",)), 2),
        "run_ratio_to_the_same_in_sql": round(large.ratio(("run",), steps), 2),
        "exponent": exponent(*ours),
        "exponents": {name: exponent(name) for name in large.seconds},
        "small": {name: round(small.median(name), 2) for name in small.seconds},
    }
