"""The mail provider: whether it takes our mail, tells what became of it, and knows the senders."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from activation.provider.resend_account import ResendAccount
from activation.provider.smtp import SmtpProvider
from core.errors import PermanentError, TransientError
from core.models import Shop
from core.settings import Settings
from ops.doctor.dns_records import TextRecords, check_domain
from ops.doctor.findings import Finding, fail, ok, unchecked, warn

RECEIVER: Final = "/webhooks/resend"
NEEDED_EVENTS: Final = frozenset(
    {
        *("email.sent", "email.delivered", "email.bounced", "email.complained"),
        *("email.suppressed", "email.failed"),
    }
)
USEFUL_EVENTS: Final = frozenset({"email.opened", "email.clicked", "suppression.added"})
Domains = Sequence[Mapping[str, Any]]


def check_mail(settings: Settings, shops: Sequence[Shop], ask: TextRecords) -> Iterator[Finding]:
    if settings.mail_provider == "smtp":
        yield from _smtp(settings)
        yield from _senders(shops, None, ask)
        return
    account = ResendAccount(api_key=settings.resend_api_key, base_url=settings.resend_base_url)
    domains, finding = _domains(settings, account)
    yield finding
    yield from _webhooks(settings, account, is_reached=domains is not None)
    yield from _senders(shops, domains, ask)


def _smtp(settings: Settings) -> Iterator[Finding]:
    try:
        problem = SmtpProvider(settings.smtp_url).check()
    except PermanentError as error:
        problem = str(error)
    if problem is None:
        yield ok("mail provider", "the relay takes us in")
    else:
        yield fail("mail provider", problem, "Correct ECOMCRM_SMTP_URL, or ask who runs the relay.")
    yield warn(
        "delivery events",
        "SMTP tells of none: bounces come to the sender's mailbox, complaints nowhere",
        "Put addresses that bounce on the list: ecomcrm suppressions import.",
    )


def _domains(settings: Settings, account: ResendAccount) -> tuple[Domains | None, Finding]:
    name = "mail provider"
    if settings.resend_api_key is None:
        return None, fail(name, "no key", "Set RESEND_API_KEY to a key of your Resend account.")
    try:
        found = account.domains()
    except TransientError as error:
        return None, unchecked(name, f"Resend was not reached ({error})")
    except PermanentError as error:
        if "restricted_api_key" in str(error):
            words = "the key may only send, so domains and webhooks cannot be looked at"
            return None, warn(name, words, "Give the key full access, or look at resend.com.")
        return None, fail(name, str(error), "Make a new key at resend.com and set RESEND_API_KEY.")
    return found, ok(name, f"Resend takes the key and knows {len(found)} domain(s)")


def _webhooks(settings: Settings, account: ResendAccount, *, is_reached: bool) -> Iterator[Finding]:
    if settings.resend_webhook_secret is None:
        words = "without its secret every event is refused: no bounce or complaint is heard of"
        yield fail("webhook secret", words, "Set ECOMCRM_RESEND_WEBHOOK_SECRET (whsec_…).")
    else:
        yield ok("webhook secret", "present")
    name = "webhook"
    if not is_reached:
        yield unchecked(name, "Resend was not asked")
        return
    try:
        known = account.webhooks()
    except (TransientError, PermanentError) as error:
        yield unchecked(name, f"Resend did not say which it has ({error})")
        return
    yield judge_webhooks(f"{settings.public_url}{RECEIVER}", known)


def judge_webhooks(address: str, known: Sequence[Mapping[str, Any]]) -> Finding:
    name, where = "webhook", "at resend.com under Webhooks"
    ours = [each for each in known if each.get("endpoint") == address]
    if not ours:
        return fail(name, f"Resend does not tell {address}", f"Add it {where}.")
    if all(each.get("status") == "disabled" for each in ours):
        return fail(
            name, "Resend has switched it off, after it failed for long", f"Enable it {where}."
        )
    told = {event for each in ours for event in each.get("events") or ()}
    if missing := sorted(NEEDED_EVENTS - told):
        return fail(name, f"it is not told of {', '.join(missing)}", f"Add these {where}.")
    if missing := sorted(USEFUL_EVENTS - told):
        return warn(name, f"it is not told of {', '.join(missing)}", f"Add these {where}.")
    return ok(name, address)


def _senders(shops: Sequence[Shop], domains: Domains | None, ask: TextRecords) -> Iterator[Finding]:
    looked_at: set[str] = set()
    for shop in shops:
        address = (shop.sender_address or "").strip()
        domain = address.rpartition("@")[2].lower()
        if not domain:
            yield fail("sender", "no address: no mail leaves", "Set the sender.", shop=shop.domain)
            continue
        known = matching(domain, domains) if domains is not None else None
        if domains is not None:
            yield judge_sender(shop.domain, domain, known)
        if domain not in looked_at and not domain.endswith((".example", ".test", ".invalid")):
            looked_at.add(domain)
            yield from check_domain(
                domain,
                spf_names=_names(known, "SPF"),
                dkim_names=_names(known, "DKIM"),
                ask=ask,
            )


def matching(domain: str, domains: Domains) -> Mapping[str, Any] | None:
    """A domain must be the provider's own: verifying one does not verify what is below it."""
    return next((each for each in domains if str(each.get("name")).lower() == domain), None)


def judge_sender(shop: str, domain: str, known: Mapping[str, Any] | None) -> Finding:
    if known is None:
        advice = "Add the domain at resend.com, or send from one that is there."
        return fail("sender", f"Resend does not know {domain}", advice, shop=shop)
    status = known.get("status")
    if status == "verified":
        return ok("sender", f"{domain} is verified", shop=shop)
    advice = "Add the DNS records that resend.com shows, then verify the domain there."
    return fail("sender", f"{domain} is {status}, not verified", advice, shop=shop)


def _names(known: Mapping[str, Any] | None, kind: str) -> list[str]:
    """Where the provider wants the records of one kind."""
    if known is None:
        return []
    return [
        whole_name(str(record.get("name")), str(known["name"]))
        for record in known.get("records") or ()
        if record.get("record") == kind and record.get("type") in ("TXT", "CNAME")
    ]


def whole_name(name: str, domain: str) -> str:
    """Resend leaves out the part that the DNS host adds: of `mail.shop.example` it writes
    `send.mail`, of `shop.example` it writes `send`.
    """
    if name == domain or name.endswith(f".{domain}"):
        return name
    labels = domain.split(".")
    for count in range(len(labels) - 1, 0, -1):
        part = ".".join(labels[:count])
        if name == part or name.endswith(f".{part}"):
            return ".".join([name, *labels[count:]])
    return f"{name}.{domain}"
