"""`python -m sandbox serve | generate | uci`."""

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 2 asked wrongly (argparse's own too), 1 for bad input data."""
    args = _parser().parse_args(argv)
    run = {"serve": _serve, "generate": _generate, "uci": _uci}[args.command]
    return run(args)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sandbox", description="Stand-ins for Shopify and Resend; see docs/sandbox.md."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="run the stand-ins until stopped")
    serve.add_argument("--port", type=int, required=True)
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--state", type=Path, required=True, help="folder that holds all state")
    serve.add_argument("--schema", type=Path, required=True, help="Admin schema, e.g. .json.gz")
    generate = commands.add_parser("generate", help="make up a shop folder")
    generate.add_argument("folder", type=Path)
    generate.add_argument("--customers", type=int, default=3000)
    generate.add_argument("--seed", type=int, default=1)
    generate.add_argument("--end", type=date.fromisoformat, help="last day; today by default")
    uci = commands.add_parser("uci", help="turn the UCI Online Retail II file into a shop folder")
    uci.add_argument("parquet", type=Path)
    uci.add_argument("folder", type=Path)
    uci.add_argument("--shift-to", type=date.fromisoformat, help="move the last day to this one")
    return parser


def _serve(args: argparse.Namespace) -> int:
    from sandbox.config import ConfigError, from_environment  # noqa: PLC0415 - each command its own
    from sandbox.serve import ServeError, serve  # noqa: PLC0415

    try:
        config = from_environment(os.environ)
        serve(config, host=args.host, port=args.port, state=args.state, schema=args.schema)
    except (ConfigError, ServeError) as error:
        sys.stderr.write(f"sandbox: {error}\n")
        return 2
    return 0


def _generate(args: argparse.Namespace) -> int:
    from sandbox.generate import generate_shop  # noqa: PLC0415

    end = args.end or datetime.now(UTC).date()
    generate_shop(args.folder, customers=args.customers, seed=args.seed, end=end)
    return 0


def _uci(args: argparse.Namespace) -> int:
    from sandbox.uci import convert_uci  # noqa: PLC0415

    convert_uci(args.parquet, args.folder, shift_to=args.shift_to)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
