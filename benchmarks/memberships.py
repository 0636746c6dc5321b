"""Segments of ten thousand customers who have just ordered, in a shop of a million.

value: `apply_membership_changes` for all of them in one transaction, from their statistics in the
view to stays closed and opened. floor: the same customers' rows of statistics read by their keys
and as many stays closed and opened by hand, in one statement of plain SQL that scores nobody.
`chunks`: by a thousand a transaction, as the activation run takes them. `exponent`: of the time in
the number of customers of the shop, from a fifth to all; 0 is not at all.

ECOMCRM_BENCH_QUICK=1 takes a tenth of the customers and fewer rounds.
"""

import math
import os
import statistics
import time
from datetime import timedelta
from typing import Final

import psycopg

from activation.memberships import apply_membership_changes
from activation.scoring import decide_and_apply
from benchmarks.rfm_build import NOW, SHOP_ID, Town, towns
from core.database import session_scope
from core.models.enums import MembershipCause
from ops.progress import Progress

IS_QUICK = os.environ.get("ECOMCRM_BENCH_QUICK", "") not in ("", "0")
CUSTOMERS = 100_000 if IS_QUICK else 1_000_000
TOUCHED = 2_000 if IS_QUICK else 10_000
ROUNDS = 2 if IS_QUICK else 5
CHUNK: Final = 1000

TOUCH = """
UPDATE raw_shopify.customer_statistics
SET order_count = order_count + 1, total_spent = total_spent + 24.95, last_order_at = %(at)s
WHERE shop_id = 1 AND customer_id IN (
    SELECT customer_id FROM raw_shopify.customer_statistics ORDER BY random() LIMIT %(count)s
)
RETURNING customer_id
"""
# The same number of rows closed and opened as ours did just before, of other customers.
FLOOR = """
WITH read AS (
    SELECT membership.membership_id
    FROM raw_shopify.customer_statistics
    INNER JOIN crm.segment_memberships AS membership USING (shop_id, customer_id)
    WHERE shop_id = 1 AND customer_id = ANY(%(ids)s) AND membership.exited_at IS NULL
),
closed AS (
    UPDATE crm.segment_memberships AS membership
    SET exited_at = %(at)s, exit_cause = 'order'
    FROM (SELECT membership_id FROM read LIMIT %(moved)s) AS first
    WHERE membership.shop_id = 1 AND membership.membership_id = first.membership_id
    RETURNING customer_id, segment, r_score, f_score, m_score
)
INSERT INTO crm.segment_memberships (shop_id, customer_id, segment, entered_at, cause, r_score,
    f_score, m_score)
SELECT 1, customer_id, segment, %(at)s, 'order', r_score, f_score, m_score FROM closed
"""


def run() -> dict[str, object]:
    """Seconds, medians of ROUNDS rounds."""
    progress = Progress()
    with towns([CUSTOMERS // 5, CUSTOMERS], progress) as made:
        small, large = ([_round(town, at) for at in range(ROUNDS)] for town in map(_ready, made))
        for one in (small, large):
            progress.say(str(one))

    def median(rounds: list[dict[str, float]], name: str) -> float:
        return statistics.median(each[name] for each in rounds)

    growth = median(large, "ours") / median(small, "ours")
    return {
        "n": TOUCHED,
        "repeats": ROUNDS,
        "value": round(median(large, "ours"), 3),
        "unit": "s",
        "floor": round(median(large, "floor"), 3),
        "ratio": round(statistics.median(each["ours"] / each["floor"] for each in large), 2),
        "peer": None,
        "peer_ratio": None,
        "moved": int(median(large, "moved")),
        "chunks": round(median(large, "chunks"), 3),
        "customers": CUSTOMERS,
        "small": round(median(small, "ours"), 3),
        "exponent": round(math.log(growth, 5), 2),
    }


def _ready(town: Town) -> Town:
    """With boundaries in force and everybody's first membership."""
    with psycopg.connect(town.url) as connection:
        town.compute_boundaries(connection, "baseline")
    decide_and_apply(town.factory(), shop_id=SHOP_ID, rfm_run_id="baseline", now=NOW, run_id=None)
    with psycopg.connect(town.url, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")
    return town


def _round(town: Town, number: int) -> dict[str, float]:
    ours, moved = _apply(town, 3 * number, size=TOUCHED)
    chunks, _ = _apply(town, 3 * number + 1, size=CHUNK)
    floor = _by_hand(town, 3 * number + 2, moved=moved)
    return {"ours": ours, "chunks": chunks, "floor": floor, "moved": moved}


def _touch(town: Town, number: int) -> list[int]:
    """Orders of that many customers by chance: their statistics move."""
    with psycopg.connect(town.url) as connection:
        values = {"at": NOW + timedelta(minutes=number), "count": TOUCHED}
        return sorted(row[0] for row in connection.execute(TOUCH, values))


def _apply(town: Town, number: int, *, size: int) -> tuple[float, int]:
    """Seconds, and how many moved."""
    ids, factory, moved = _touch(town, number), town.factory(), 0
    began = time.perf_counter()
    for first in range(0, len(ids), size):
        with session_scope(factory) as session:
            moved += apply_membership_changes(
                session,
                SHOP_ID,
                customer_ids=ids[first : first + size],
                now=NOW + timedelta(minutes=number),
                cause=MembershipCause.ORDER,
                run_id="bench",
            ).entered
    return time.perf_counter() - began, moved


def _by_hand(town: Town, number: int, *, moved: int) -> float:
    ids = _touch(town, number)
    with psycopg.connect(town.url) as connection:
        began = time.perf_counter()
        values = {"ids": ids, "moved": moved, "at": NOW + timedelta(minutes=number)}
        connection.execute(FLOOR, values)
        connection.commit()
        return time.perf_counter() - began
