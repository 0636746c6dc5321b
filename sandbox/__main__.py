"""`python -m sandbox serve | generate | uci`."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

USAGE = """usage: python -m sandbox serve --port P --state DIR --schema FILE [--smtp-port P]
       python -m sandbox generate FOLDER [--customers N] [--seed N] [--end YYYY-MM-DD]
       python -m sandbox uci PARQUET FOLDER [--shift-to YYYY-MM-DD]
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 2 asked wrongly; the data tools add their own."""
    args = sys.argv[1:] if argv is None else list(argv)
    commands = {"serve": _serve, "generate": _generate, "uci": _uci}
    if not args or args[0] not in commands:
        asked_for_help = args[:1] in (["-h"], ["--help"])
        (sys.stdout if asked_for_help else sys.stderr).write(USAGE)
        return 0 if asked_for_help else 2
    return commands[args[0]](args[1:])


def _serve(args: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox serve", description="Run the stand-ins; see docs/sandbox.md."
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--smtp-port", type=int, help="also a relay for SMTP, on 127.0.0.1")
    parser.add_argument("--state", type=Path, required=True, help="folder that holds all state")
    parser.add_argument("--schema", type=Path, required=True, help="Admin schema, e.g. .json.gz")
    asked = parser.parse_args(args)
    # Imported here so that the data tools need neither a web server nor the schema library.
    from sandbox.config import ConfigError, from_environment  # noqa: PLC0415
    from sandbox.serve import ServeError, serve  # noqa: PLC0415

    try:
        config = from_environment(os.environ)
        serve(
            config,
            host=asked.host,
            port=asked.port,
            state=asked.state,
            schema=asked.schema,
            smtp_port=asked.smtp_port,
        )
    except (ConfigError, ServeError) as error:
        sys.stderr.write(f"sandbox: {error}\n")
        return 2
    return 0


def _generate(args: Sequence[str]) -> int:
    from sandbox.generate import main as generate  # noqa: PLC0415

    return generate(args)


def _uci(args: Sequence[str]) -> int:
    from sandbox.uci import main as uci  # noqa: PLC0415 - it needs pyarrow

    return uci(args)


if __name__ == "__main__":
    raise SystemExit(main())
