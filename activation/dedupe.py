"""The one place that builds the key which makes a message happen once.

Made of stable identifiers only. A key that changed its text would let every message leave again,
so the test compares it literally.
"""

from typing import Final

ERASED: Final = "erased"
TEST: Final = "test"
DISPLACED: Final = "/merged/"


def message_key(*, automation: str, step_key: str, customer_id: int, entry_key: str) -> str:
    """`automation/step_key/customer/entry_key`, unique per shop; never with a version or date."""
    return f"{automation}/{step_key}/{customer_id}/{entry_key}"


def trial_key(*, automation: str, step_key: str, occasion: str) -> str:
    """`test/automation/step_key/occasion`: of a test mail, which is nobody's. No automation is
    called `test` (automation/library.py).
    """
    return f"{TEST}/{automation}/{step_key}/{occasion}"


def is_erased(key: str) -> bool:
    """Whether the message is left from somebody erased: `erased/message_id`, named after nobody."""
    return key.startswith(f"{ERASED}/")


def key_of_survivor(
    key: str, *, automation: str, step_key: str, customer_id: int, survivor_id: int
) -> str | None:
    """The key the message has once its customer was merged into another; None: not one of theirs.

    It goes on blocking: what the customer who was merged away got, the survivor does not get again.
    """
    theirs = message_key(
        automation=automation, step_key=step_key, customer_id=customer_id, entry_key=""
    )
    if not key.startswith(theirs):
        return None
    return message_key(
        automation=automation,
        step_key=step_key,
        customer_id=survivor_id,
        entry_key=key.removeprefix(theirs),
    )


def displaced(key: str, row_id: int) -> str:
    """Beside the same key of another row, which stays: `key/merged/row`."""
    return f"{key}{DISPLACED}{row_id}"


def is_displaced(key: str) -> bool:
    """Whether another message stands for this one since their customers were merged."""
    return DISPLACED in key


def write_back_key(*, kind: str, customer_id: int, tag: str | None, occasion: str) -> str:
    """`kind/customer/tag/occasion`: what is written to Shopify once. `occasion` names the event
    that asked for it by stable identifiers, such as a step of an enrolment.
    """
    return f"{kind}/{customer_id}/{tag or '-'}/{occasion}"
