"""`python -m benchmarks [--only name,…]`: one JSON line per benchmark.

Each line has `bench, n, repeats, value, unit, floor, ratio, peer, peer_ratio`: what we measured,
what was measured in the same run as the least possible (`floor`) or as another tool doing the same
(`peer`), null where there is none, and how we stand to it.
"""

import argparse
import json
import sys
from collections.abc import Callable

from benchmarks import ingest, latency_cold, webhook

BENCHMARKS: dict[str, Callable[[], dict[str, object]]] = {
    "ingest": ingest.run,
    "latency_cold": latency_cold.run,
    "webhook": webhook.run,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--only", default="", help="names separated by commas; default: all")
    asked = parser.parse_args()
    names = [name for name in asked.only.split(",") if name] or list(BENCHMARKS)
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        known = ", ".join(BENCHMARKS)
        sys.stderr.write(f"No such benchmark: {', '.join(unknown)}. There are: {known}\n")
        return 2
    for name in names:
        print(json.dumps({"bench": name, **BENCHMARKS[name]()}), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
