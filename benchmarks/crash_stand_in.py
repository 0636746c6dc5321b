"""`python -m benchmarks.crash_stand_in PORT FOLDER`: the sandbox, of which only Resend is asked.

Its Shopify has a schema of nothing, so it starts at once and needs no file.
"""

import sys
from pathlib import Path

import uvicorn
from graphql import build_schema

from sandbox.app import build_app, open_world
from sandbox.config import Config
from sandbox.serve import server_config

API_KEY = "re_crash"
WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the standard's example


def main(port: int, folder: Path) -> None:
    config = Config(
        client_id="id",
        client_secret="secret",  # noqa: S106 - of nothing
        resend_api_key=API_KEY,
        resend_webhook_secret=WEBHOOK_SECRET,
    )
    nothing = build_schema("type Query { nothing: Int }")
    world = open_world(config, state=folder, schema=nothing, api_version="2026-07")
    server = server_config(build_app(world), host="127.0.0.1", port=port)
    server.log_level = "warning"
    uvicorn.Server(server).run()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
