"""Who is held out of a flow: always the same customers, and anybody can work out who.

Held out is whose number is below the flow's share: the first four bytes, big endian, of the SHA-256
of `<shop domain>/<automation key>/<customer id>`, modulo 100.
"""

from hashlib import sha256
from typing import Final

# A customer with this tag, in any case, tries things out: never held out.
TEST_TAG: Final = "ecomcrm-test"


def is_held_out(domain: str, automation_key: str, customer_id: int, percent: int) -> bool:
    """Whether the customer gets no mail of the flow while its share is `percent`."""
    digest = sha256(f"{domain}/{automation_key}/{customer_id}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % 100 < percent
