"""The invoices of a real shop through ingestion, statistics, boundaries and views, against numpy.

    make bench ONLY=rfm_uci DATA=online_retail_II.parquet

UCI Online Retail II (D. Chen, 2019, doi 10.24432/C5CG6D, CC BY 4.0), turned into Shopify's bulk
files by the sandbox. numpy reads those files, not our tables: which orders count, what is left of
them and when they were is worked out from Shopify's own fields. `value`: customers whose scores
or segment differ; anything but 0 is an error.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import numpy as np
import psycopg

from activation.scoring import decide_and_apply
from benchmarks.ingest import _database as cluster
from benchmarks.ingest_loader import LocalFile
from benchmarks.rfm_build import NOW, SHOP_ID, Town, build
from benchmarks.rfm_oracle import score_orders
from core.database import SessionFactory, session_scope
from core.ingestion.bulk_file import BulkFile
from core.ingestion.staging import Counts, stage
from core.models.enums import BulkPurpose, GateState, ObjectType
from core.paths import PROJECT_ROOT
from ops.progress import Progress

LAST_DAY: Final = "2026-11-24"
NOT_SCORED: Final = (1, 1, 1, "potential", False)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
Row = tuple[int, int, int, str, bool]


def run(parquet: Path) -> dict[str, object]:
    progress = Progress()
    with cluster() as (url, folder):
        shop = folder / "shop"
        command = [sys.executable, "-m", "sandbox", "uci", str(parquet), str(shop)]
        subprocess.run(
            [*command, "--shift-to", LAST_DAY], cwd=PROJECT_ROOT, check=True, capture_output=True
        )
        progress.say("the shop folder is written")
        with psycopg.connect(url) as connection:
            connection.execute(
                "UPDATE crm.shops SET currency = 'GBP', time_zone = 'Europe/London',"
                " first_sync_started_at = %(at)s, first_sync_completed_at = %(at)s",
                {"at": NOW},
            )
        town = Town(url, folder, 0, "")
        factory = town.factory()
        for name, kind in (("customers", ObjectType.CUSTOMER), ("orders", ObjectType.ORDER)):
            _load(factory, shop / f"{name}.jsonl", kind)
        progress.say("customers and orders are loaded")
        town = Town(url, folder, 0, build(url, folder / "dbt"))
        with psycopg.connect(url) as connection:
            town.compute_boundaries(connection, "uci")
        report = decide_and_apply(
            factory, shop_id=SHOP_ID, rfm_run_id="uci", now=NOW + timedelta(days=1), run_id=None
        )
        assert report.state is GateState.ACCEPTED, report.reason
        with psycopg.connect(url) as connection:
            found = _found(connection)
        return _result(found, _by_numpy(shop))


def _load(factory: SessionFactory, path: Path, kind: ObjectType) -> None:
    """As a sync loads a bulk file."""
    source: Any = LocalFile(str(path), 1)
    rejected: list[Any] = []
    staged = stage(
        factory,
        BulkFile(source, "https://local/", renew=lambda: ""),
        shop_id=SHOP_ID,
        object_type=kind,
        purpose=BulkPurpose.LOAD,
        name=f"uci_{kind.name.lower()}",
        counts=Counts(),
        reject=lambda *line: rejected.append(line),
        progress=lambda: None,
        screen=None,
        processes=1,
    )
    with session_scope(factory) as session:
        staged.apply(session, sync_run_id=1, at=NOW)
    assert not rejected


def _found(connection: psycopg.Connection) -> dict[int, Row]:
    rows = connection.execute(
        "SELECT customer_id, r_score, f_score, m_score, segment, is_scored"
        " FROM marts.customer_segments"
    ).fetchall()
    return {row[0]: tuple(row[1:]) for row in rows}


def _by_numpy(shop: Path) -> dict[int, Row]:
    counted = np.array(list(_counted(shop / "orders.jsonl")), dtype=np.int64)
    scores = score_orders(counted[:, 0], counted[:, 1], counted[:, 2])
    everybody = (_number(record["id"]) for record in _records(shop / "customers.jsonl"))
    expected: dict[int, Row] = dict.fromkeys(everybody, NOT_SCORED)
    for number, r, f, m, segment in zip(
        *(scores.customer_ids, scores.r, scores.f, scores.m, scores.segments), strict=True
    ):
        expected[int(number)] = (int(r), int(f), int(m), str(segment), True)
    return expected


def _counted(path: Path) -> Iterator[tuple[int, int, int]]:
    """Customer, microseconds and ten-thousandths of each order that counts, by Shopify's fields."""
    for order in _records(path):
        refunded = Decimal(order["totalRefundedSet"]["shopMoney"]["amount"])
        original = Decimal(order["totalPriceSet"]["shopMoney"]["amount"])
        if (
            order["customer"] is None
            or order["test"]
            or order["cancelledAt"] is not None
            or order["displayFinancialStatus"] in ("VOIDED", "EXPIRED", "REFUNDED")
            or 0 < original <= refunded
        ):
            continue
        left = Decimal(order["currentTotalPriceSet"]["shopMoney"]["amount"])
        at = datetime.fromisoformat(order["processedAt"]) - EPOCH
        yield _number(order["customer"]["id"]), at // timedelta(microseconds=1), int(left * 10_000)


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """The root objects of a bulk file."""
    with path.open() as file:
        for line in file:
            record = json.loads(line)
            if "__parentId" not in record:
                yield record


def _number(gid: str) -> int:
    return int(gid.rpartition("/")[2])


def _result(found: dict[int, Row], expected: dict[int, Row]) -> dict[str, object]:
    differing = [
        key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key)
    ]
    return {
        "n": len(expected),
        "repeats": 1,
        "value": len(differing),
        "unit": "mismatches",
        "floor": None,
        "ratio": None,
        "peer": None,
        "peer_ratio": None,
        "scored": sum(row[-1] for row in found.values()),
        "segments": dict(Counter(row[3] for row in found.values()).most_common()),
    }
