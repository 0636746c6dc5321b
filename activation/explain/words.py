"""What a merchant reads for each code; a test holds that none is missing."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from activation.eligibility import Check
from core.models.enums import DeferReason, SkipReason

CHECKS: Final[Mapping[str, tuple[str, str]]] = {
    # What it says when it passes, and when it does not.
    Check.NOT_MERGING: (
        "no other customer is being merged with them",
        "Shopify merged two customers, and what belongs to whom is being put together",
    ),
    Check.AUTOMATION_IS_ON: ("the flow is on", "the flow is off"),
    Check.ENTRY_HOLDS: ("what started it still holds", "what started it is no longer so"),
    Check.CUSTOMER_EXISTS: ("the customer exists in Shopify", "the customer was deleted"),
    Check.IN_TIME: ("it is not too late", "it is too late for this mail"),
    Check.NOT_SUPPRESSED: (
        "the address is not on the list of those never mailed",
        "the address is on the list of those never mailed",
    ),
    Check.NOT_UNSUBSCRIBED_HERE: (
        "they did not unsubscribe by a link of ours",
        "they unsubscribed by a link of ours",
    ),
    Check.ADDRESS_IS_VALID: ("the address is a real one", "the address cannot be mailed"),
    Check.SHOP_IS_CONNECTED: (
        "the app is installed in the shop",
        "the app was removed from the shop",
    ),
    Check.CONSENT_IS_KNOWN: (
        "Shopify has told whether they agreed",
        "Shopify has not told whether they agreed",
    ),
    Check.HAS_ADDRESS: ("they have an address", "they have no address"),
    Check.IS_SUBSCRIBED: (
        "they are subscribed to marketing mail",
        "they are not subscribed to marketing mail",
    ),
    Check.WANTS_THIS_FLOW: ("they want this kind of mail", "they want no mail of this kind"),
    Check.IS_CONFIRMED: (
        "their subscription needs no confirmation, or has it",
        "they have not confirmed their subscription",
    ),
    Check.HAS_POSTAL_ADDRESS: (
        "the shop has a postal address",
        "the shop has no postal address, which every marketing mail must show",
    ),
    Check.HAS_SENDER: ("the shop has a sender", "the shop has no sender address"),
    Check.NOT_PAUSED: ("sending is not paused", "sending is paused"),
    Check.DATA_IS_FRESH: (
        "the shop's data is fresh enough",
        "the last complete sync with Shopify is too long ago",
    ),
    Check.DATA_IS_ACCEPTED: (
        "nothing about the shop's data is in doubt",
        "the shop's data changed too much to be trusted; somebody has to look at it",
    ),
    Check.NOT_QUIET: ("it is not in quiet hours", "it is in quiet hours"),
    Check.WITHIN_CAPS: (
        "they have not had too much mail lately",
        "they have had as much mail lately as the shop allows",
    ),
}

SKIPPED: Final[Mapping[str, str]] = {
    SkipReason.NOT_SUBSCRIBED: "they are not subscribed to marketing mail",
    SkipReason.CONSENT_UNKNOWN: "Shopify never told whether they agreed to marketing mail",
    SkipReason.UNSUBSCRIBED: "they unsubscribed",
    SkipReason.SUPPRESSED: "the address is on the list of those never mailed",
    SkipReason.NO_ADDRESS: "they have no address",
    SkipReason.INVALID_ADDRESS: "the address cannot be mailed",
    SkipReason.CUSTOMER_DELETED: "the customer was deleted in Shopify",
    SkipReason.EXITED: "what started it was no longer so",
    SkipReason.TOO_LATE: "it had become too late for it",
    SkipReason.AUTOMATION_OFF: "the flow was off",
    SkipReason.HOLDOUT: "they are in the share of customers who get no mail, to measure the flow",
    SkipReason.OPTED_OUT: "they want no mail of this kind",
}

WAITING: Final[Mapping[str, str]] = {
    DeferReason.CONSENT_UNKNOWN: "Shopify to tell whether they agreed",
    DeferReason.NO_POSTAL_ADDRESS: "the shop's postal address",
    DeferReason.NO_SENDER: "the shop's sender address",
    DeferReason.STALE_DATA: "a complete sync with Shopify",
    DeferReason.DATA_HELD: "somebody to look at the shop's data, which is in doubt",
    DeferReason.PROVIDER_PAUSED: "the end of a pause in sending",
    DeferReason.SHOP_DISCONNECTED: "the app to be installed again",
    DeferReason.FREQUENCY_CAP: "room under the limit of mails to one address",
    DeferReason.QUIET_HOURS: "the end of quiet hours",
    DeferReason.NOT_CONFIRMED: "them to confirm their subscription",
    DeferReason.NO_DISCOUNT_CODE: "Shopify to make their discount code",
    DeferReason.NO_DISCOUNT_CODE: "Shopify to make their discount code",
}

EVENTS: Final[Mapping[str, str]] = {
    "first_order": "their first order",
    "any_order": "an order",
    "entered_segment": "entering a segment",
    "abandoned_checkout": "a checkout without an order",
    "silence": "a time without an order",
    "tag_added": "a tag that was added",
    "consent_given": "a subscription",
}


def skipped(reason: str) -> str:
    return SKIPPED.get(reason, reason.replace("_", " "))


def waiting(reason: str) -> str:
    return WAITING.get(reason, reason.replace("_", " "))


def when(at: datetime, zone: ZoneInfo) -> str:
    """In the shop's own time, such as `20 November 2026, 13:00`."""
    local = at.astimezone(zone)
    return f"{local.day} {local:%B %Y, %H:%M}"


def day(at: datetime, zone: ZoneInfo) -> str:
    local = at.astimezone(zone)
    return f"{local.day} {local:%B %Y}"


def span(length: timedelta) -> str:
    """Such as `2 hours`, in the largest unit that is whole."""
    seconds = int(length.total_seconds())
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds and seconds % size == 0:
            return number(seconds // size, unit)
    return number(seconds, "second")


def number(count: int, unit: str) -> str:
    return f"{count:,} {unit}{'' if count == 1 else 's'}"


def names(segments: tuple[str, ...]) -> str:
    """Such as `at risk or hibernating`."""
    plain = [each.replace("_", " ") for each in segments]
    return plain[0] if len(plain) == 1 else f"{', '.join(plain[:-1])} or {plain[-1]}"
