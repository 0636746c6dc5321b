"""What every part of a running sandbox shares."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from graphql import GraphQLSchema

from sandbox.clock import Clock
from sandbox.config import Config
from sandbox.deliverer import Deliverer
from sandbox.faults import Faults
from sandbox.store import Store


@dataclass(frozen=True, kw_only=True)
class World:
    """`api_version` is the one version of the Admin API that is served, the schema file's."""

    config: Config
    store: Store
    faults: Faults
    clock: Clock
    schema: GraphQLSchema
    api_version: str
    deliverer: Deliverer
    state: Path


def stored_secret(store: Store, name: str) -> str:
    """A random text that is made once and kept."""
    with store.write() as db:
        db.execute(
            "insert or ignore into settings (name, value) values (?, ?)",
            [f"secret.{name}", secrets.token_hex(32)],
        )
        row = db.execute("select value from settings where name = ?", [f"secret.{name}"]).fetchone()
        return str(row["value"])
