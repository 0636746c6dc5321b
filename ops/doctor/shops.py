"""Each shop: what law asks of its mail, Shopify's side, and whether it sends at all."""

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy.orm import Session

from activation.discounts.problems import WRITE_SCOPE, flows_with_codes, problems
from activation.events.health import read_health
from activation.outbox.pacing import paused_for
from core.clock import SystemClock
from core.models import Shop
from core.scopes import missing_scopes
from core.shops import business_clock
from ops.doctor.findings import Finding, fail, ok, warn


def check_shop(session: Session, shop: Shop) -> Iterator[Finding]:
    if shop.uninstalled_at is not None:
        words, advice = "the app was removed", "Install it in Shopify, then: ecomcrm shop add"
        yield fail("shop", words, advice, shop=shop.domain)
        return
    yield _postal_address(shop)
    yield _scopes(shop)
    if shop.webhooks_problem:
        advice = "See docs/shopify.md; it is tried again every hour."
        yield warn("Shopify webhooks", shop.webhooks_problem, advice, shop=shop.domain)
    else:
        yield ok("Shopify webhooks", "subscribed", shop=shop.domain)
    now = business_clock(shop, SystemClock()).now()
    yield from discount_codes(session, shop, now)
    yield _sending(session, shop)


def _postal_address(shop: Shop) -> Finding:
    if (shop.postal_address or "").strip():
        return ok("postal address", "present", shop=shop.domain)
    words = "none: law asks for it in marketing mail, so none leaves"
    return fail("postal address", words, "Set it for the shop.", shop=shop.domain)


def _scopes(shop: Shop) -> Finding:
    if not shop.access_scopes:
        advice = "They are read at the next sync."
        return warn("Shopify scopes", "not known yet", advice, shop=shop.domain)
    missing = missing_scopes(shop.access_scopes)
    if not missing:
        return ok("Shopify scopes", "all granted", shop=shop.domain)
    advice = "Add them to the app, release the version and approve it in the shop."
    return warn("Shopify scopes", f"missing: {', '.join(missing)}", advice, shop=shop.domain)


def discount_codes(session: Session, shop: Shop, now: datetime) -> Iterator[Finding]:
    """Only where a flow that is on gives each customer a code of their own."""
    flows = flows_with_codes(session, shop.shop_id)
    if not flows:
        return
    found = problems(session, shop.shop_id, now=now)
    for each in found:
        words = f"{each.flow}: {each.words} {each.waiting} mails wait."
        advice = "Put it right in Shopify; it is tried again every quarter of an hour."
        yield warn("discount codes", words, advice, shop=shop.domain)
    if found:
        return
    if shop.access_scopes and WRITE_SCOPE not in shop.access_scopes:
        words = f"{', '.join(flows)}: the scope {WRITE_SCOPE} is missing, so no codes can be made"
        advice = "Add it to the app, release the version and approve it in the shop."
        yield warn("discount codes", words, advice, shop=shop.domain)
        return
    yield ok("discount codes", f"made for {', '.join(flows)}", shop=shop.domain)


def _sending(session: Session, shop: Shop) -> Finding:
    if paused_for(session, shop.shop_id) is None:
        return ok("sending", "not paused", shop=shop.domain)
    now = business_clock(shop, SystemClock()).now()
    reason = read_health(session, shop.shop_id, now=now).reason
    advice = "Put right what it says, then: ecomcrm sending resume --reason …"
    words = reason or "paused: the provider refused mail"
    return fail("sending", words, advice, shop=shop.domain)
