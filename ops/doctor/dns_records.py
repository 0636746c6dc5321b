"""What mailbox providers look up about a sender's domain: SPF, DKIM, DMARC."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import dns.exception
import dns.resolver

from ops.doctor.findings import Finding, fail, ok, unchecked, warn

SECONDS: Final = 4.0
# None: nobody answered, so nothing is known.
TextRecords = Callable[[str], list[str] | None]


def text_records(name: str) -> list[str] | None:
    """TXT records of a name; [] when there are none, None when no name server was reached."""
    resolver = dns.resolver.Resolver(configure=True)
    resolver.lifetime = SECONDS
    try:
        answer = resolver.resolve(name, "TXT")
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return []
    except dns.exception.DNSException:
        return None
    return [b"".join(record.strings).decode(errors="replace") for record in answer]


def safe_text_records(name: str) -> list[str] | None:
    """The same on a machine that is not even set up to ask."""
    try:
        return text_records(name)
    except (dns.resolver.NoResolverConfiguration, OSError):
        return None


def check_domain(
    domain: str, *, spf_names: Iterable[str], dkim_names: Iterable[str], ask: TextRecords
) -> Iterator[Finding]:
    """`spf_names` and `dkim_names`: where the provider says its records are to be."""
    yield _spf(domain, list(spf_names) or [domain], ask)
    yield _dkim(domain, list(dkim_names), ask)
    yield _dmarc(domain, ask)


def _spf(domain: str, names: list[str], ask: TextRecords) -> Finding:
    found = [ask(name) for name in names]
    if None in found:
        return unchecked("SPF", f"{domain}: no name server was reached")
    if any(text.lower().startswith("v=spf1") for texts in found for text in texts or ()):
        return ok("SPF", f"{domain}: present")
    words = f"{domain}: no SPF record at {' or '.join(names)}"
    return fail("SPF", words, "Add the TXT record that your mail provider shows for the domain.")


def _dkim(domain: str, names: list[str], ask: TextRecords) -> Finding:
    if not names:
        return unchecked("DKIM", f"{domain}: only the relay knows the name of its key")
    for name in names:
        texts = ask(name)
        if texts is None:
            return unchecked("DKIM", f"{domain}: no name server was reached")
        if not any("p=" in text for text in texts):
            words = f"{domain}: no key at {name}"
            return fail("DKIM", words, "Add the record that your mail provider shows.")
    return ok("DKIM", f"{domain}: present")


def _dmarc(domain: str, ask: TextRecords) -> Finding:
    """Of the domain, else of one above it: `mail.shop.example` may rest on `shop.example`."""
    labels = domain.split(".")
    for start in range(max(len(labels) - 1, 1)):
        name = ".".join(["_dmarc", *labels[start:]])
        texts = ask(name)
        if texts is None:
            return unchecked("DMARC", f"{domain}: no name server was reached")
        if any(text.lower().startswith("v=dmarc1") for text in texts):
            return ok("DMARC", f"{domain}: present at {name}")
    return warn(
        "DMARC",
        f"{domain}: no policy; Gmail and Yahoo ask it of whoever sends 5,000 mails a day",
        f"Add a TXT record at _dmarc.{domain}: v=DMARC1; p=none",
    )
