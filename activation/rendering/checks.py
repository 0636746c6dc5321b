"""What every rendered mail must hold before it may be frozen.

Cheap on purpose: it runs for each mail. What a template can get wrong once (links, remote content,
lost expressions) is checked when it is compiled and by the tests.
"""

from typing import Final

from core.errors import PermanentError

MAX_HTML_BYTES: Final = 100_000  # Gmail clips at 102 KB and loses the footer with it


class MailError(PermanentError):
    """One mail that cannot be sent as rendered; the message says why. Others are not affected."""


def check_mail(
    *, html: str, text: str, unsubscribe_url: str, postal_address: str, address_html: str
) -> None:
    """`address_html` is the address as HTML says it. Raises MailError naming the first fault."""
    if len(html) * 4 > MAX_HTML_BYTES and (size := len(html.encode())) > MAX_HTML_BYTES:
        raise MailError(f"The mail is too large: {size:,} bytes of HTML of {MAX_HTML_BYTES:,}.")
    # From the end, because that is where they stand.
    if min(html.rfind(unsubscribe_url), text.rfind(unsubscribe_url)) < 0:
        raise MailError("The mail has no unsubscribe link.")
    if not postal_address or min(html.rfind(address_html), text.rfind(postal_address)) < 0:
        raise MailError("The mail does not show the shop's postal address.")
