"""Whether something reads as an address that mail can reach. Nothing is looked up."""

import re
from functools import lru_cache
from typing import Final

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email

# As btrim() in customers.email_normalized: a suppression must find the address that was mailed.
SPACE: Final = " "

LONGEST: Final = 254
LONGEST_LOCAL_PART: Final = 64
# The full check takes 40 µs, which is twice what a whole decision may. Nearly all addresses are
# plain; any other is left to it, and a test holds that it agrees on all of these.
_PLAIN: Final = re.compile(
    r"[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9]|-(?!-)){0,61}(?<!-)\.)+([A-Za-z]{2,63})"
)
_SPECIAL: Final = frozenset(name.rpartition(".")[2] for name in SPECIAL_USE_DOMAIN_NAMES)


@lru_cache(maxsize=1024)
def is_address(address: str) -> bool:
    """Whether this reads as an address that mail can reach."""
    bare = address.strip(SPACE)
    if is_plain_address(bare):
        return True
    try:
        validate_email(bare, check_deliverability=False)
    except EmailNotValidError:
        return False
    return True


def is_plain_address(bare: str) -> bool:
    """Whether it is certain without the full check."""
    found = _PLAIN.fullmatch(bare)
    return (
        found is not None
        and len(bare) <= LONGEST
        and bare.index("@") <= LONGEST_LOCAL_PART
        and found[1].lower() not in _SPECIAL
    )
