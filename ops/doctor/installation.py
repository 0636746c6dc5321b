"""The installation itself: database, clocks, the address it is reached at."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

import httpx
import psycopg
from sqlalchemy.engine import make_url

from core.migrate import head_revision
from core.settings import Settings
from ops.doctor.findings import Finding, fail, ok, unchecked, warn

LEAST_VERSION: Final = 150_000
SMALL_SKEW: Final = timedelta(seconds=5)
# Signatures of events are refused when they are five minutes old.
LARGE_SKEW: Final = timedelta(minutes=2)
NOTICE_SECONDS: Final = 2.0
LOOPBACK: Final = ("http://127.0.0.1", "http://localhost")


def check_installation(settings: Settings) -> Iterator[Finding]:
    yield _public_address(settings)
    yield from _database(settings)
    yield _provider_clock(settings)


def _public_address(settings: Settings) -> Finding:
    url = settings.public_url
    if url.startswith("https://"):
        return ok("public address", url)
    advice = "Set ECOMCRM_PUBLIC_URL to the https address at which the web app is reached."
    if url.startswith(LOOPBACK) and settings.uses_sandbox:
        return warn("public address", f"{url}: only this machine, fit for a demo", advice)
    words = f"{url}: links in mails do not work elsewhere, and one-click unsubscribing needs https"
    return fail("public address", words, advice)


def _database(settings: Settings) -> Iterator[Finding]:
    url = _plain(settings.listen_url)
    try:
        with psycopg.connect(url, connect_timeout=5, autocommit=True) as connection:
            yield _version(connection)
            yield _revision(connection)
            yield _clock(connection)
    except psycopg.Error as error:
        words = f"does not answer: {type(error).__name__}"
        yield fail("database", words, "Start it, or correct DATABASE_URL.")
        return
    yield _sessions(settings)


def _version(connection: psycopg.Connection) -> Finding:
    version = connection.info.server_version
    shown = f"PostgreSQL {version // 10_000}.{version % 10_000}"
    if version >= LEAST_VERSION:
        return ok("database", shown)
    return fail("database", f"{shown} is too old", "Use PostgreSQL 15 or newer.")


def _revision(connection: psycopg.Connection) -> Finding:
    try:
        row = connection.execute("SELECT version_num FROM crm.alembic_version").fetchone()
    except psycopg.Error:
        row = None
    head = head_revision()
    if row is not None and row[0] == head:
        return ok("tables", f"at migration {head}")
    found = row[0] if row else "none"
    return fail("tables", f"at migration {found}, not {head}", "Start with `ecomcrm up` once.")


def _clock(connection: psycopg.Connection) -> Finding:
    before = datetime.now(UTC)
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    after = datetime.now(UTC)
    assert row is not None  # noqa: S101 - a SELECT without FROM returns one row
    return judge_skew("clock", "the database", row[0] - (before + (after - before) / 2))


def judge_skew(name: str, whose: str, skew: timedelta) -> Finding:
    seconds = skew.total_seconds()
    words = f"{abs(seconds):.1f} s {'behind' if seconds > 0 else 'ahead of'} {whose}"
    if abs(skew) <= SMALL_SKEW:
        return ok(name, f"agrees with {whose}")
    advice = "Set this machine's clock by NTP."
    return (fail if abs(skew) > LARGE_SKEW else warn)(name, words, advice)


def _sessions(settings: Settings) -> Finding:
    """Whether a notice reaches who listens: behind a transaction-mode pooler it does not."""
    if hears_notices(_plain(settings.database_url.get_secret_value())):
        return ok("database sessions", "DATABASE_URL keeps them")
    if settings.database_direct_url is not None:
        direct = _plain(settings.database_direct_url.get_secret_value())
        if hears_notices(direct):
            return ok("database sessions", "pooled; DATABASE_DIRECT_URL keeps them")
    return warn(
        "database sessions",
        "a pooler gives every transaction another session: locks of processes do not hold",
        "Set DATABASE_DIRECT_URL to the database itself.",
    )


def hears_notices(url: str) -> bool:
    try:
        with (
            psycopg.connect(url, connect_timeout=5, autocommit=True) as listener,
            psycopg.connect(url, connect_timeout=5, autocommit=True) as speaker,
        ):
            listener.execute("LISTEN ecomcrm_doctor")
            speaker.execute("NOTIFY ecomcrm_doctor")
            return any(True for _ in listener.notifies(timeout=NOTICE_SECONDS, stop_after=1))
    except psycopg.Error:
        return False


def _provider_clock(settings: Settings) -> Finding:
    """By the time that the mail provider writes over its answers."""
    name = "clock elsewhere"
    if settings.mail_provider != "resend":
        return unchecked(name, "SMTP tells no time")
    base = settings.resend_base_url
    try:
        answer = httpx.head(base, timeout=5, trust_env=not base.startswith(LOOPBACK))
        told = parsedate_to_datetime(answer.headers["date"])
    except (httpx.HTTPError, KeyError, ValueError):
        return unchecked(name, "the mail provider was not reached")
    return judge_skew(name, "the mail provider", told - datetime.now(UTC))


def _plain(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
