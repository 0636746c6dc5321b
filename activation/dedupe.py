"""The one place that builds the key which makes a message happen once.

Made of stable identifiers only. A key that changed its text would let every message leave again,
so the test compares it literally.
"""

from typing import Final

ERASED: Final = "erased"


def message_key(*, automation: str, step_key: str, customer_id: int, entry_key: str) -> str:
    """`automation/step_key/customer/entry_key`, unique per shop; never with a version or date."""
    return f"{automation}/{step_key}/{customer_id}/{entry_key}"


def is_erased(key: str) -> bool:
    """Whether the message is left from somebody erased: `erased/message_id`, named after nobody."""
    return key.startswith(f"{ERASED}/")
