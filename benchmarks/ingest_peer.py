"""dlt loads the same lines into the same Postgres.

    python -m benchmarks.ingest_peer <settings as JSON>

As its users write it: a resource for each type that yields the file's objects in batches, and one
run of a pipeline that replaces the tables. Prints one JSON line.
"""

import json
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
    began = time.perf_counter()
    pipeline.run(resources, write_disposition="replace")
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "version": dlt.__version__}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
