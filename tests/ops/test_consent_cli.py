"""What the subcommand `consent` does, on the database it would open."""

import io
import stat
from pathlib import Path

import pytest

from activation.consent.ledger import Act, Change, record
from core.clock import SystemClock
from core.database import SessionFactory, session_scope
from core.errors import PermanentError
from core.models import AuditEntry
from core.models.enums import ConsentSource, ConsentStanding
from core.settings import Settings
from ops.consent_cli import Format, _new_file, export, policies, set_double_opt_in
from tests.fixtures.shopify import add_shop

pytestmark = pytest.mark.requirement("EMAIL-02")
ASH, BIRCH = "ash.myshopify.com", "birch.myshopify.com"


@pytest.fixture
def factory(session_factory: SessionFactory, settings: Settings) -> SessionFactory:
    with session_scope(session_factory) as session:
        for domain in (ASH, BIRCH):
            add_shop(session, settings, domain=domain)
    return session_factory


def test_double_opt_in_is_set_for_one_shop_with_a_reason(factory: SessionFactory) -> None:
    set_double_opt_in(factory, ASH, on=True, everybody=True, reason="Our lawyer.")
    assert policies(factory, None) == [
        {"shop": ASH, "double_opt_in": True, "since": None},
        {"shop": BIRCH, "double_opt_in": False, "since": None},
    ]
    set_double_opt_in(factory, ASH, on=False, everybody=False, reason="No more.")
    assert not policies(factory, ASH)[0]["double_opt_in"]
    with session_scope(factory) as session:
        assert [each.reason for each in session.query(AuditEntry)] == ["Our lawyer.", "No more."]


@pytest.mark.parametrize(
    ("shop", "options", "words"),
    [
        (ASH, {"on": True, "everybody": False, "reason": " "}, "Say why"),
        (ASH, {"on": False, "everybody": True, "reason": "x"}, "--everybody goes with --on"),
        (None, {"on": True, "everybody": False, "reason": "x"}, "ash.*birch"),
    ],
)
def test_what_is_refused(
    factory: SessionFactory, shop: str | None, options: dict[str, object], words: str
) -> None:
    with pytest.raises(PermanentError, match=words):
        set_double_opt_in(factory, shop, **options)  # type: ignore[arg-type]
    assert not any(each["double_opt_in"] for each in policies(factory, None))


@pytest.mark.parametrize("form", Format)
def test_the_ledger_of_one_shop_is_given_out(factory: SessionFactory, form: Format) -> None:
    with session_scope(factory) as session:
        change = Change(1, "a@example.com", None, ConsentStanding.SUBSCRIBED, SystemClock().now())
        record(session, Act(ConsentSource.OWNER), [change])
    file = io.StringIO()
    export(factory, ASH, file, form=form)
    assert "a@example.com" in file.getvalue()
    empty = io.StringIO()
    export(factory, BIRCH, empty, form=form)
    assert "a@example.com" not in empty.getvalue()


def test_a_file_is_new_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    with _new_file(path) as file:
        file.write("ä")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text(encoding="utf-8") == "ä"
    with pytest.raises(PermanentError, match="exists already"):
        _new_file(path)
