"""What a merchant should know before looking at anything else: what happened, what is safe, what
to do. Worst first.
"""

from dataclasses import dataclass
from typing import Final

from activation.holds import advice
from core.models import Shop
from core.scopes import NEEDED, missing_scopes
from webapp import words
from webapp.contexts import Alert

ALL_ORDERS_SCOPE: Final = "read_all_orders"
_RANK: Final = {"error": 0, "warning": 1, "info": 2}


@dataclass(frozen=True, kw_only=True)
class Troubles:
    """None or zero: no such trouble. An empty text: trouble without words of its own."""

    sync_error: str | None = None
    is_stale: bool = False
    inbox_failed: int = 0
    messages_unknown: int = 0
    paused_reason: str | None = None
    stopped_itself: bool = False


def alerts_for(shop: Shop, troubles: Troubles) -> tuple[Alert, ...]:
    found = (
        _removed(shop) or _sync(troubles),
        _held(shop),
        _paused(troubles),
        _unknown(troubles),
        _inbox(troubles),
        _webhooks(shop),
        _sender(shop),
        _old_orders(shop),
        _scopes(shop),
    )
    return tuple(sorted((alert for alert in found if alert), key=lambda each: _RANK[each.level]))


def _removed(shop: Shop) -> Alert | None:
    """In place of what it makes of the syncs."""
    if shop.uninstalled_at is None:
        return None
    return Alert(
        level="error",
        title="The app was removed from this shop",
        text="Nothing is read and no mail leaves. What was read before is here. Install the app in "
        "Shopify again, then run `ecomcrm shop add`.",
    )


def _sync(troubles: Troubles) -> Alert | None:
    if troubles.sync_error is not None:
        return Alert(
            level="error",
            title="The last sync failed",
            text=f"{_sentence(troubles.sync_error or 'No reason was recorded.')} What was loaded "
            "before is intact; the next sync goes on from there. Run `ecomcrm sync` to try now.",
        )
    if troubles.is_stale:
        return Alert(
            level="warning",
            title="No sync completed in the last 24 hours",
            text="Figures and segments may be out of date. New orders still arrive by webhook. "
            "Run `ecomcrm sync`, and see in Dagster why the nightly one did not.",
        )
    return None


def _held(shop: Shop) -> Alert | None:
    if shop.segments_held_at is None:
        return None
    reason = _sentence(shop.segments_held_reason or "No reason was recorded.")
    return Alert(
        level="warning",
        title="Segments are held back",
        text=f"{reason} Nobody changes segment and no mail leaves because of it. "
        f"{advice(shop.segments_held_check)}",
        url=f"/held?shop={shop.shop_id}",
        action="Look at it and decide",
    )


def _paused(troubles: Troubles) -> Alert | None:
    if troubles.paused_reason is None:
        return None
    if troubles.stopped_itself:
        return Alert(
            level="error",
            title="Sending has stopped: too many mails bounce or are reported as spam",
            text=f"{_sentence(troubles.paused_reason)} Going on would cost the shop its good name "
            "with mailbox providers. Mail waits. Clean the list, then run "
            "`ecomcrm sending resume` with a reason.",
        )
    return Alert(
        level="error",
        title="The mail provider refuses mail",
        text=f"{_sentence(troubles.paused_reason)} Mail waits and leaves once this is solved.",
    )


def _unknown(troubles: Troubles) -> Alert | None:
    count = troubles.messages_unknown
    if not count:
        return None
    return Alert(
        level="warning",
        title=f"{words.plural(count, 'mail')} with unknown outcome",
        text="The provider never answered. They are not sent again by themselves, so nobody gets "
        "one twice.",
    )


def _inbox(troubles: Troubles) -> Alert | None:
    count = troubles.inbox_failed
    if not count:
        return None
    return Alert(
        level="warning",
        title=f"{words.plural(count, 'webhook')} from Shopify could not be applied",
        text="They are kept with the reason, and tried again where that can help; the next sync "
        "brings the same changes.",
    )


def _sender(shop: Shop) -> Alert | None:
    missing = [
        name
        for name, value in (
            ("sender address", shop.sender_address),
            ("postal address", shop.postal_address),
        )
        if not value
    ]
    if not missing:
        return None
    return Alert(
        level="info",
        title=f"The shop has no {' and no '.join(missing)}",
        text="Law and mailbox providers ask for it in marketing mail; until it is set, mail waits.",
    )


def _webhooks(shop: Shop) -> Alert | None:
    if shop.webhooks_problem is None or shop.uninstalled_at is not None:
        return None
    return Alert(
        level="warning",
        title="Shopify does not tell us every change at once",
        text=_sentence(shop.webhooks_problem),
    )


def _scopes(shop: Shop) -> Alert | None:
    """All but the one that has an alert of its own."""
    missing = [scope for scope in missing_scopes(shop.access_scopes) if scope != ALL_ORDERS_SCOPE]
    if not shop.access_scopes or not missing:
        return None
    losses = "; ".join(NEEDED[scope] for scope in missing)
    return Alert(
        level="warning",
        title=f"The app lacks {words.plural(len(missing), 'scope')}",
        text=f"Without `{'`, `'.join(missing)}`: {losses}. Add it to the app, release the version "
        "and approve it in the shop.",
    )


def _old_orders(shop: Shop) -> Alert | None:
    if not shop.access_scopes or ALL_ORDERS_SCOPE in shop.access_scopes:
        return None
    return Alert(
        level="warning",
        title="Shopify shows us only the last 60 days of orders",
        text="Old customers would look like first buyers, so first-order flows stay blocked. "
        f"Grant the app the scope `{ALL_ORDERS_SCOPE}` and sync again.",
    )


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
