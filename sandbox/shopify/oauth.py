"""Client credentials: the token endpoint, and who holds a token that is still good."""

import hmac
import secrets
import sqlite3
from urllib.parse import parse_qs

import orjson
from starlette.responses import Response

from sandbox.http import Call, reply
from sandbox.shopify.scopes import granted
from sandbox.world import World

BAD_TOKEN = "[API] Invalid API key or access token (unrecognized login or wrong password)"  # noqa: S105 - the vendor's words
GRANT = "client_credentials"


def find_shop(world: World, domain: str) -> sqlite3.Row | None:
    with world.store.read() as db:
        row: sqlite3.Row | None = db.execute(
            "select * from shops where domain = ?", [domain]
        ).fetchone()
        return row


def access_token(world: World, call: Call) -> Response:
    """`POST /admin/oauth/access_token`, form or JSON."""
    shop = find_shop(world, call.params["shop"])
    if shop is None:
        return reply({"errors": "Not Found"}, 404)
    fields = _fields(call)
    if fields.get("grant_type") != GRANT:
        return _refused("unsupported_grant_type", "Grant type is not supported")
    expected = (world.config.client_id, world.config.client_secret)
    given = (fields.get("client_id", ""), fields.get("client_secret", ""))
    if not all(
        hmac.compare_digest(a.encode(), b.encode()) for a, b in zip(expected, given, strict=True)
    ):
        return _refused("invalid_client", "Client authentication failed")
    if _is_uninstalled(world, shop):
        return _refused("app_not_installed", "The app is not installed on this shop")
    seconds = world.faults["shopify_token_seconds"]
    token = secrets.token_hex(16)
    with world.store.write() as db:
        db.execute(
            "insert into tokens (token, shop, expires_at) values (?, ?, ?)",
            [token, shop["shop"], world.clock.now() + seconds],
        )
    scope = ",".join(granted(world.faults))
    return reply({"access_token": token, "scope": scope, "expires_in": seconds})


def _is_uninstalled(world: World, shop: sqlite3.Row) -> bool:
    with world.store.read() as db:
        found = db.execute("select 1 from uninstalls where shop = ?", [shop["shop"]]).fetchone()
    return found is not None


def holds_token(world: World, shop: sqlite3.Row, token: str | None) -> bool:
    """Whether the token was given out for this shop and has not expired."""
    if not token:
        return False
    with world.store.read() as db:
        row = db.execute(
            "select 1 from tokens where token = ? and shop = ? and expires_at > ?",
            [token, shop["shop"], world.clock.now()],
        ).fetchone()
    return row is not None


def revoke_tokens(world: World, shop: sqlite3.Row) -> None:
    """From now on no token that was given out is good."""
    with world.store.write() as db:
        db.execute("delete from tokens where shop = ?", [shop["shop"]])


def _fields(call: Call) -> dict[str, str]:
    if "json" in call.headers.get("content-type", ""):
        try:
            data = orjson.loads(call.body)
        except orjson.JSONDecodeError:
            return {}
        return (
            {k: v for k, v in data.items() if isinstance(v, str)} if isinstance(data, dict) else {}
        )
    return {k: v[0] for k, v in parse_qs(call.body.decode("utf-8", "replace")).items()}


def _refused(error: str, description: str) -> Response:
    return reply({"error": error, "error_description": description}, 400)
