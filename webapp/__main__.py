"""`python -m webapp --port 8400`: the web process as the supervisor starts it.

uvicorn's own access log is off: it writes whole addresses, and ours name people.
"""

import argparse
import gc
import sys
from typing import Final

import uvicorn

from core.errors import SettingsError
from core.settings import load_settings
from webapp.app import create_app
from webapp.logs import configure_logging

# New objects until the collector looks at them; a group of webhooks makes some ten thousand.
COLLECT_AFTER: Final = 50_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m webapp", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8400)
    arguments = parser.parse_args()
    try:
        settings = load_settings()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logging(settings.log_level)
    app = create_app(settings)
    _spare_the_collector()
    uvicorn.run(
        app,
        host=arguments.host,
        port=arguments.port,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=3,
    )
    return 0


def _spare_the_collector() -> None:
    """What the process starts with stays: no collection need look through it, least of all one in
    the middle of a group of webhooks.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 20, 20)


if __name__ == "__main__":
    sys.exit(main())
