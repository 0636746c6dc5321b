"""`python -m benchmarks [--only name,…] [--data FILE]`: one JSON line per benchmark.

Each line has `bench, n, repeats, value, unit, floor, ratio, peer, peer_ratio`: what we measured,
what was measured in the same run as the least possible (`floor`) or as another tool doing the same
(`peer`), null where there is none, and how we stand to it.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import (
    delivery,
    due_steps,
    eligibility,
    enrolment,
    events,
    ingest,
    latency_cold,
    latency_warm,
    memberships,
    pace,
    render,
    rfm,
    rfm_uci,
    webhook,
)

BENCHMARKS: dict[str, Callable[[], dict[str, object]]] = {
    "delivery": delivery.run,
    "due_steps": due_steps.run,
    "events": events.run,
    "eligibility": eligibility.run,
    "enrolment": enrolment.run,
    "ingest": ingest.run,
    "latency_cold": latency_cold.run,
    "latency_warm": latency_warm.run,
    "memberships": memberships.run,
    "pace": pace.run,
    "render": render.run,
    "rfm": rfm.run,
    "webhook": webhook.run,
}
# On a file that is not part of the project; only by name.
ON_DATA: dict[str, Callable[[Path], dict[str, object]]] = {"rfm_uci": rfm_uci.run}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--only", default="", help="names separated by commas; default: all")
    parser.add_argument("--data", type=Path, help=f"file for {', '.join(ON_DATA)}")
    asked = parser.parse_args()
    names = [name for name in asked.only.split(",") if name] or list(BENCHMARKS)
    unknown = sorted(set(names) - set(BENCHMARKS) - set(ON_DATA))
    if unknown:
        known = ", ".join([*BENCHMARKS, *ON_DATA])
        sys.stderr.write(f"No such benchmark: {', '.join(unknown)}. There are: {known}\n")
        return 2
    if asked.data is None and set(names) & set(ON_DATA):
        sys.stderr.write(f"{', '.join(set(names) & set(ON_DATA))} needs a file: --data FILE\n")
        return 2
    for name in names:
        said = ON_DATA[name](asked.data) if name in ON_DATA else BENCHMARKS[name]()
        print(json.dumps({"bench": name, **said}), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
