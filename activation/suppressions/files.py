"""The list as CSV: read in and written out line by line, however long it is.

    email,reason,suppressed_at,source
    ann@example.com,hard_bounce,2026-11-20T12:00:00+00:00,event

Only `email` is needed. Other programs name things differently: the usual names of columns and
reasons are understood. Reading the same file again changes nothing.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Final, TextIO

from email_validator import EmailNotValidError, validate_email
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.suppressions.adding import Entry, add, normalized
from core.database import SessionFactory, session_scope
from core.errors import PermanentError
from core.ingestion.screen import Screen
from core.models.enums import SuppressionReason, SuppressionSource

CHUNK: Final = 1000
SHOWN: Final = 100  # bad lines that are told one by one
LONGEST_LINE: Final = 4000
COLUMNS: Final = ("email", "reason", "suppressed_at", "source")

NAMES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("email", "e-mail", "email address", "address", "recipient"), "email"),
    **dict.fromkeys(("reason", "suppression reason", "type", "status", "origin"), "reason"),
    **dict.fromkeys(
        ("suppressed_at", "timestamp", "date", "created_at", "created", "suppressed on"), "at"
    ),
}
REASONS: Final[Mapping[str, SuppressionReason]] = {
    "": SuppressionReason.MANUAL,
    **dict.fromkeys(
        ("manual", "suppressed", "user_suppressed", "never_subscribed", "cleaned", "blocked"),
        SuppressionReason.MANUAL,
    ),
    **dict.fromkeys(
        ("unsubscribed", "unsubscribe", "unsub", "optout", "opt_out"),
        SuppressionReason.UNSUBSCRIBED,
    ),
    **dict.fromkeys(
        ("hard_bounce", "bounce", "bounced", "hard bounce", "hard_bounced", "invalid_email"),
        SuppressionReason.HARD_BOUNCE,
    ),
    **dict.fromkeys(
        ("complaint", "complained", "spam", "marked_as_spam", "spam_complaint", "spamreport"),
        SuppressionReason.COMPLAINT,
    ),
}
# What a spreadsheet would take for a formula at the beginning of a cell.
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")

READ_LIST = text("""
-- Returns the shop's list in the order of addresses. Changes nothing. Primary key.
SELECT email_normalized, reason, suppressed_at, source
FROM crm.suppressions
WHERE shop_id = :shop_id AND lifted_at IS NULL AND reason <> 'erased'
ORDER BY email_normalized, reason
""")


@dataclass(frozen=True)
class BadLine:
    """A line that was left out. Its content is not repeated: it may be somebody's address."""

    number: int
    problem: str


@dataclass
class Imported:
    """`known`: on the list already. `erased`: people who must not even be stored."""

    lines: int = 0
    added: int = 0
    known: int = 0
    erased: int = 0
    bad: int = 0
    bad_lines: list[BadLine] = field(default_factory=list)

    def leave_out(self, number: int, problem: str) -> None:
        self.bad += 1
        if len(self.bad_lines) < SHOWN:
            self.bad_lines.append(BadLine(number, problem))


@dataclass(frozen=True)
class _Place:
    """Where a file's columns are."""

    email: int
    reason: int | None
    at: int | None


def import_file(
    factory: SessionFactory,
    file: TextIO,
    *,
    shop_id: int,
    secret_key: SecretStr,
    now: datetime,
    user_id: int | None = None,
) -> Imported:
    """Put every address of a CSV file on the shop's list, a thousand in a transaction.

    Lines that cannot be used are left out and told by their numbers. What was taken off the list
    after the file says it was put there stays off. Raises PermanentError for a file without
    addresses.
    """
    report = Imported()
    lines = _lines(file, report)
    place = None
    entries = _entries(lines, report, shop_id=shop_id, now=now)
    try:
        while chunk := list(islice(entries, CHUNK)):
            with session_scope(factory) as session:
                _take(session, chunk, report, secret_key=secret_key, user_id=user_id)
    except UnicodeDecodeError as error:
        raise PermanentError("This file is not UTF-8; save it as CSV UTF-8.") from error
    if report.lines == 0 and place is None and not report.bad:
        raise PermanentError("This file holds no addresses.")
    return report


def export_file(session: Session, file: TextIO, *, shop_id: int) -> int:
    """Write the shop's list; returns how many lines. Never more than a thousand in memory."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    rows = session.execute(READ_LIST, {"shop_id": shop_id}, execution_options={"yield_per": CHUNK})
    count = 0
    for row in rows:
        when = row.suppressed_at.astimezone(UTC).isoformat()
        writer.writerow([harmless(row.email_normalized), row.reason, when, row.source or ""])
        count += 1
    return count


def harmless(cell: str) -> str:
    """A cell that no spreadsheet calculates with: `=1+1` is written `'=1+1`."""
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def plain(cell: str) -> str:
    """The cell as it was before `harmless`."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA) else cell


def _take(
    session: Session,
    entries: list[Entry],
    report: Imported,
    *,
    secret_key: SecretStr,
    user_id: int | None,
) -> None:
    screen = Screen.load_for(
        session, entries[0].shop_id, secret_key, emails=[each.email for each in entries]
    )
    wanted = [each for each in entries if screen is None or not screen.is_erased_email(each.email)]
    added = add(session, wanted, source=SuppressionSource.FILE, user_id=user_id)
    report.added += len(added)
    report.erased += len(entries) - len(wanted)
    report.known += len(wanted) - len(added)


def _lines(file: TextIO, report: Imported) -> Iterator[tuple[int, list[str]]]:
    """Numbered rows; what is too long or broken is left out before it is read as CSV."""
    for number, line in enumerate(file, start=1):
        text_ = line.removeprefix("\ufeff") if number == 1 else line
        if not text_.strip():
            continue
        if len(text_) > LONGEST_LINE or "\x00" in text_:
            report.lines += 1
            report.leave_out(number, "too long" if len(text_) > LONGEST_LINE else "not a text")
            continue
        try:
            yield number, next(csv.reader([text_], strict=True, delimiter=_delimiter(text_)))
        except csv.Error:
            report.lines += 1
            report.leave_out(number, "a quotation mark is not closed")


def _delimiter(line: str) -> str:
    """Of programs set to a language whose numbers have a comma, it is a semicolon."""
    return ";" if ";" in line and "," not in line else ","


def _entries(
    lines: Iterable[tuple[int, list[str]]], report: Imported, *, shop_id: int, now: datetime
) -> Iterator[Entry]:
    place: _Place | None = None
    for number, cells in lines:
        if place is None:
            place = _places(cells)
            if place is not None:
                continue
            place = _Place(0, None, None)  # a file without a header: addresses come first
        report.lines += 1
        entry = _entry(cells, place, shop_id=shop_id, now=now)
        if isinstance(entry, str):
            report.leave_out(number, entry)
        else:
            yield entry


def _places(cells: list[str]) -> _Place | None:
    """Of a header; None where the first line is an address already."""
    found: dict[str, int] = {}
    for position, cell in enumerate(cells):
        name = NAMES.get(cell.strip().lower())
        if name is not None:
            found.setdefault(name, position)
    if "email" in found:
        return _Place(found["email"], found.get("reason"), found.get("at"))
    if any("@" in cell for cell in cells):
        return None
    raise PermanentError("The first line names no column `email`.")


def _entry(cells: list[str], place: _Place, *, shop_id: int, now: datetime) -> Entry | str:
    """An entry, or what is wrong with the line."""
    email = normalized(plain(_cell(cells, place.email)))
    try:
        validate_email(email, check_deliverability=False)
    except EmailNotValidError:
        return "no address" if not email else "not an address"
    reason = REASONS.get(_cell(cells, place.reason).strip().lower())
    if reason is None:
        return "a reason that is not known"
    at = _cell(cells, place.at).strip()
    try:
        when = datetime.fromisoformat(at) if at else now
    except ValueError:
        return "a date that cannot be read"
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return Entry(shop_id, email, reason, min(when, now))


def _cell(cells: list[str], position: int | None) -> str:
    return cells[position] if position is not None and position < len(cells) else ""
