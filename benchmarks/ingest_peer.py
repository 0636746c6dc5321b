"""dlt loads the same lines into the same Postgres.

    python -m benchmarks.ingest_peer <settings as JSON>

As its users write it: a resource for each type that yields the file's objects in batches, and one
run of a pipeline that replaces the tables. Prints one JSON line.
"""

import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dlt
import orjson

BATCH = 5000


def objects(path: str, kind: str) -> Iterator[list[dict[str, Any]]]:
    batch = []
    with Path(path).open("rb") as file:
        for line in file:
            node = orjson.loads(line)
            if node["id"].split("/")[3] == kind:
                batch.append(node)
            if len(batch) == BATCH:
                yield batch
                batch = []
    yield batch


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def main() -> int:
    given = json.loads(sys.argv[1])
    pipeline = dlt.pipeline(
        pipeline_name="bench",
        destination=dlt.destinations.postgres(given["url"]),
        dataset_name="dlt_bench",
        pipelines_dir=given["folder"],
    )
    resources = [
        dlt.resource(objects(given["path"], "Order"), name="orders"),
        dlt.resource(objects(given["path"], "LineItem"), name="order_lines"),
    ]
    cpu = _cpu_seconds()
    began = time.perf_counter()
    pipeline.run(resources, write_disposition="replace")
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "cpu_seconds": _cpu_seconds() - cpu}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
