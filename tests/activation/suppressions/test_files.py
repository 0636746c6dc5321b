"""The list as CSV: in, out, and round again."""

import io
from datetime import timedelta

import pytest
from sqlalchemy import select

from activation.suppressions.adding import Entry, add
from activation.suppressions.files import BadLine, Imported, export_file, harmless, import_file
from core.database import session_scope
from core.errors import PermanentError
from core.ingestion.screen import ErasureHasher
from core.models import ConsentEvent, Suppression
from core.models.enums import (
    ConsentSource,
    ConsentStanding,
    SkipReason,
    SuppressionReason,
    SuppressionSource,
)
from tests.activation.world import World


def read_in(world: World, text: str) -> Imported:
    return import_file(
        world.factory,
        io.StringIO(text, newline=""),
        shop_id=world.shop_id,
        secret_key=world.settings.secret_key,
        now=world.now,
    )


def listed(world: World) -> dict[str, SuppressionReason]:
    with session_scope(world.factory) as session:
        rows = session.scalars(select(Suppression).where(Suppression.lifted_at.is_(None)))
        return {row.email_normalized: row.reason for row in rows}


def written(world: World) -> str:
    out = io.StringIO(newline="")
    with session_scope(world.factory) as session:
        export_file(session, out, shop_id=world.shop_id)
    return out.getvalue()


@pytest.mark.requirement("EMAIL-03")
def test_a_file_is_read_once_however_often_and_bad_lines_are_told_by_number(world: World) -> None:
    text = (
        "\ufeffEmail Address,Suppression Reason,Timestamp\r\n"
        " Ann@Example.com ,UNSUBSCRIBE,2026-01-02T03:04:05Z\r\n"
        "\r\n"
        "bob@example.com,hard_bounce,2026-01-02\r\n"
        "not an address,,\r\n"
        "carl@example.com,tired,\r\n"
        "dora@example.com,,yesterday\r\n"
        '"eve@example.com,,\r\n'
        f"{'x' * 5000}@example.com,,\r\n"
        "fay@example.com,complaint,\r\n"
        "gus@example.com\r\n"
    )
    first = read_in(world, text)
    assert (first.lines, first.added, first.known, first.bad) == (9, 4, 0, 5)
    assert first.bad_lines == [
        BadLine(5, "not an address"),
        BadLine(6, "a reason that is not known"),
        BadLine(7, "a date that cannot be read"),
        BadLine(8, "a quotation mark is not closed"),
        BadLine(9, "too long"),
    ]
    assert listed(world) == {
        "ann@example.com": SuppressionReason.UNSUBSCRIBED,
        "bob@example.com": SuppressionReason.HARD_BOUNCE,
        "fay@example.com": SuppressionReason.COMPLAINT,
        "gus@example.com": SuppressionReason.MANUAL,
    }
    again = read_in(world, text)
    assert (again.added, again.known) == (0, 4)


@pytest.mark.requirement("EMAIL-03")
@pytest.mark.parametrize("text", ["a@example.com\nb@example.com\n", "email;x\na@example.com;1\n"])
def test_files_without_a_header_and_with_semicolons_are_understood(world: World, text: str) -> None:
    assert read_in(world, text).added == len(listed(world)) > 0


@pytest.mark.parametrize("text", ["name,city\nAnn,Bonn\n", "name\n"])
def test_a_file_without_addresses_is_refused(world: World, text: str) -> None:
    with pytest.raises(PermanentError):
        read_in(world, text)


@pytest.mark.requirement("EMAIL-03")
def test_what_is_written_out_is_harmless_and_read_in_the_same(world: World) -> None:
    odd = ["=cmd@example.com", "+1@example.com", "-x@example.com", "plain@example.com"]
    with session_scope(world.factory) as session:
        add(
            session,
            [Entry(world.shop_id, each, SuppressionReason.MANUAL, world.now) for each in odd],
            source=SuppressionSource.PERSON,
        )
    text = written(world)
    cells = [line.split(",")[0] for line in text.splitlines()[1:]]
    assert sorted(cells) == sorted(harmless(each) for each in odd)
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)
    before = listed(world)
    world.execute("DELETE FROM crm.suppressions")
    assert read_in(world, text).bad == 0
    assert listed(world) == before


@pytest.mark.requirement("EMAIL-03")
def test_what_was_taken_off_later_than_the_file_says_stays_off(world: World) -> None:
    old = (world.now - timedelta(days=2)).isoformat()
    read_in(world, f"email,created_at\na@example.com,{old}\n")
    world.execute("UPDATE crm.suppressions SET lifted_at = :at", at=world.now - timedelta(days=1))
    assert read_in(world, f"email,created_at\na@example.com,{old}\n").added == 0
    assert read_in(world, "email\na@example.com\n").added == 1


@pytest.mark.requirement("SHOP-07")
def test_whoever_was_erased_is_not_stored_again_by_a_file(world: World) -> None:
    hasher = ErasureHasher(world.settings.secret_key, world.shop_id)
    for value in (hasher.email("ann@example.com"), hasher.key_check):
        world.execute(
            "INSERT INTO crm.suppressions (shop_id, email_normalized, reason, suppressed_at)"
            " VALUES (:shop_id, :value, 'erased', :now)",
            shop_id=world.shop_id,
            value=value,
            now=world.now,
        )
    done = read_in(world, "email\nANN@example.com\nbob@example.com\n")
    assert (done.added, done.erased) == (1, 1)
    assert "ann@example.com" not in listed(world)
    assert "hmac" not in written(world)


@pytest.mark.requirement("EMAIL-02", "EMAIL-03")
def test_an_address_of_a_file_gets_no_mail_and_the_ledger_says_why(world: World) -> None:
    world.add_customer(1)
    read_in(world, "email\nc1@example.com\n")
    world.place_order(1)
    world.run_cleanly()
    assert world.message().skip_reason is SkipReason.SUPPRESSED
    with session_scope(world.factory) as session:
        event = session.scalars(
            select(ConsentEvent).where(ConsentEvent.source == ConsentSource.IMPORT)
        ).one()
        assert (event.state_before, event.state_after) == (
            ConsentStanding.SUBSCRIBED,
            ConsentStanding.SUPPRESSED,
        )
