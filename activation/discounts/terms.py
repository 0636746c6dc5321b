"""What a code takes off, how codes are made up, and the days that one discount at Shopify is for.

At Shopify the end belongs to the discount, not to its codes. So one discount serves the mails of a
few days, and ends so long after them that the last of its codes is good as long as was promised.
"""

import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from activation.automation.definition import UniqueCode

# Without 0 O 1 I L, which people mistake for one another.
ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
DRAWN: Final = 10  # 49 bits: of a million codes, one guess in 800 million finds one
MOST_PREFIX: Final = 20
LONGEST_PERIOD: Final = 7  # days
AHEAD: Final = timedelta(hours=2)  # before its first day the next discount is made
_EPOCH: Final = datetime(2020, 1, 1, tzinfo=UTC)
_NOT_IN_CODES: Final = re.compile(r"[^A-Z0-9-]+")


@dataclass(frozen=True)
class Period:
    """The mails of these days get codes of one discount. Instants are business time."""

    assign_until: datetime
    ends_at: datetime


def terms_of(code: UniqueCode) -> str:
    """The same text for the same terms."""
    return msgspec.json.encode(code).decode()


def read_terms(terms: str) -> UniqueCode:
    return msgspec.json.decode(terms, type=UniqueCode)


def period_of(code: UniqueCode, at: datetime) -> Period:
    """The period that `at` is in. A code given out in it is good for at least its valid days, and
    for at most a quarter more, or a day, or a week.
    """
    length = timedelta(days=min(LONGEST_PERIOD, max(1, code.valid_days // 4)))
    until = _EPOCH + ((at - _EPOCH) // length + 1) * length
    return Period(until, until + timedelta(days=code.valid_days))


def new_codes(prefix: str, count: int) -> list[str]:
    """Codes that nobody can guess, all different."""
    stem = _NOT_IN_CODES.sub("", prefix.upper())[:MOST_PREFIX].strip("-")
    codes: set[str] = set()
    while len(codes) < count:
        drawn = "".join(secrets.choice(ALPHABET) for _ in range(DRAWN))
        codes.add(f"{stem}-{drawn}" if stem else drawn)
    return sorted(codes)


def discount_input(
    code: UniqueCode, *, flow: str, first_code: str, starts_at: datetime, ends_at: datetime
) -> dict[str, Any]:
    """The discount as Shopify takes it: off the whole order, each code once."""
    if code.percent is not None:
        value: dict[str, Any] = {"percentage": code.percent / 100}
        off = f"{code.percent}% off"
    else:
        value = {"discountAmount": {"amount": str(code.amount), "appliesOnEachItem": False}}
        off = f"{code.amount} off"
    return {
        "title": f"{flow[:100]}: {off}, a code for each customer, until {ends_at:%Y-%m-%d}",
        "code": first_code,
        "startsAt": starts_at.isoformat(timespec="seconds"),
        "endsAt": ends_at.isoformat(timespec="seconds"),
        "usageLimit": 1,
        "appliesOncePerCustomer": False,
        "context": {"all": "ALL"},
        "customerGets": {"value": value, "items": {"all": True}},
    }
