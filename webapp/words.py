"""Numbers, times and states as merchants read them. No SQL, no HTML."""

from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from core.models.enums import DeferReason, MessageState, Segment, SkipReason
from webapp.contexts import Amount, Moment

_SYMBOLS: Final = {"EUR": "€", "USD": "$", "GBP": "£", "JPY": "¥", "INR": "₹"}
# ISO 4217 currencies without a minor unit.
_WHOLE: Final = frozenset(
    [
        "BIF",
        "CLP",
        "DJF",
        "GNF",
        "ISK",
        "JPY",
        "KMF",
        "KRW",
        "PYG",
        "RWF",
        "UGX",
        "VND",
        "VUV",
        "XAF",
        "XOF",
        "XPF",
    ]
)
_NO_CENTS_FROM: Final = 10_000

# Hours are told up to two days: "30 h" says more than "1 d".
_UNITS: Final = ((172_800, 86_400, "d"), (3_600, 3_600, "h"), (60, 60, "min"))

SEGMENT_NAMES: Final = {
    Segment.CHAMPION: ("Champions", "Bought lately, often and for much"),
    Segment.LOYAL: ("Loyal", "Come back regularly"),
    Segment.POTENTIAL: ("Potential", "Bought rather lately, or not yet"),
    Segment.NEW: ("New", "First order not long ago"),
    Segment.AT_RISK: ("At risk", "Used to come back, silent for a while"),
    Segment.HIBERNATING: ("Hibernating", "Silent for long, had spent something"),
    Segment.LOST: ("Lost", "Silent for long, spent little"),
}

STATE_NAMES: Final = {
    MessageState.QUEUED: ("Queued", "waiting"),
    MessageState.FROZEN: ("Sending", "waiting"),
    MessageState.SENT: ("Sent", "good"),
    MessageState.DELIVERED: ("Delivered", "good"),
    MessageState.BOUNCED: ("Bounced", "bad"),
    MessageState.COMPLAINED: ("Marked as spam", "bad"),
    MessageState.SKIPPED: ("Skipped", "quiet"),
    MessageState.FAILED: ("Failed", "bad"),
    MessageState.UNKNOWN: ("Outcome unknown", "bad"),
}

SKIP_REASONS: Final = {
    SkipReason.NOT_SUBSCRIBED: "Not subscribed to marketing mail",
    SkipReason.CONSENT_UNKNOWN: "Shopify never told whether they subscribed",
    SkipReason.UNSUBSCRIBED: "Unsubscribed",
    SkipReason.SUPPRESSED: "Address bounced or complained before",
    SkipReason.NO_ADDRESS: "No email address",
    SkipReason.INVALID_ADDRESS: "Email address is not valid",
    SkipReason.CUSTOMER_DELETED: "Customer was deleted in Shopify",
    SkipReason.EXITED: "Left the flow: the order no longer counts",
    SkipReason.TOO_LATE: "Too late to be of use",
    SkipReason.AUTOMATION_OFF: "Flow was switched off",
    SkipReason.HOLDOUT: "In the control group that gets no mail",
    SkipReason.OPTED_OUT: "Does not want mail of this kind",
}

DEFER_REASONS: Final = {
    DeferReason.CONSENT_UNKNOWN: "Waits until Shopify tells whether they are subscribed",
    DeferReason.NO_POSTAL_ADDRESS: "Waits for the shop's postal address",
    DeferReason.NO_SENDER: "Waits for the shop's sender address",
    DeferReason.STALE_DATA: "Waits for fresh data",
    DeferReason.DATA_HELD: "Waits until the data is found right or accepted",
    DeferReason.FREQUENCY_CAP: "Waits: this address got mail not long ago",
    DeferReason.QUIET_HOURS: "Waits until the quiet hours are over",
    DeferReason.PROVIDER_PAUSED: "Waits: the mail provider is paused",
    DeferReason.SHOP_DISCONNECTED: "Waits until the app is installed in the shop again",
    DeferReason.NOT_CONFIRMED: "Waits until they confirm their subscription",
    DeferReason.NO_DISCOUNT_CODE: "Waits until Shopify has made their discount code",
}


def number(value: int) -> str:
    return f"{value:,}"


def plural(value: int, one: str, many: str | None = None) -> str:
    """`1 order`, `1,204 orders`."""
    return f"{number(value)} {one if value == 1 else many or one + 's'}"


def count(value: int) -> Amount:
    return Amount(text=number(value), exact=number(value))


def money(value: Decimal, currency: str) -> Amount:
    """Whole units from 10,000 on; always exact behind it."""
    smallest = "1" if currency in _WHOLE else "0.01"
    exact = _with_currency(_rounded(value, smallest), currency)
    shown = "1" if abs(value) >= _NO_CENTS_FROM else smallest
    return Amount(text=_with_currency(_rounded(value, shown), currency), exact=exact)


def share(part: int, whole: int) -> str:
    """A percentage: one decimal below 10 %, `<0.1%` rather than nothing."""
    if whole == 0 or part == 0:
        return "0%"
    percent = 100 * part / whole
    if percent < 0.1:  # noqa: PLR2004 - what one decimal can show
        return "<0.1%"
    return f"{percent:.1f}%" if percent < 10 else f"{percent:.0f}%"  # noqa: PLR2004


def change(now: int | Decimal, before: int | Decimal) -> str | None:
    """Growth against the period before; None where there was nothing to compare with."""
    if not before:
        return None
    percent = round(100 * (now - before) / before)
    return f"{percent:+d}%" if percent else "±0%"


def difference(now: int, before: int) -> str:
    return f"{now - before:+,d}" if now != before else "±0"


def moment(at: datetime, *, now: datetime, time_zone: str) -> Moment:
    local = at.astimezone(_zone(time_zone))
    return Moment(
        relative=relative(at, now=now),
        absolute=f"{local:%d %b %Y, %H:%M:%S} {local.tzname()}",
        iso=at.isoformat(timespec="seconds"),
    )


def relative(at: datetime, *, now: datetime) -> str:
    """`3 min ago`, `in 2 h`, `just now`."""
    gap = now - at
    if abs(gap) < timedelta(seconds=5):
        return "just now"
    text = duration(abs(gap))
    return f"{text} ago" if gap > timedelta() else f"in {text}"


def duration(span: timedelta) -> str:
    """One unit, rounded down: `42 s`, `3 min`, `5 h`, `12 d`."""
    seconds = int(span.total_seconds())
    for from_seconds, size, unit in _UNITS:
        if seconds >= from_seconds:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def masked(email: str) -> str:
    """`a•••@example.com`: enough for its owner, little for anyone else."""
    name, _, domain = email.partition("@")
    return f"{name[:1]}•••@{domain}"


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def _rounded(value: Decimal, places: str) -> str:
    return f"{value.quantize(Decimal(places), ROUND_HALF_UP):,}"


def _with_currency(figure: str, currency: str) -> str:
    symbol = _SYMBOLS.get(currency)
    if symbol is None:
        return f"{figure} {currency}"
    return f"-{symbol}{figure[1:]}" if figure.startswith("-") else f"{symbol}{figure}"
