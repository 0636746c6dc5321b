from typing import Any

import pytest

from ops.smoke import broken_promises

GOOD: dict[str, Any] = {
    "customers": 10,
    "orders": 20,
    "scored": 10,
    "segments": {"champion": 4, "lost": 6},
    "emails_expected": 5,
    "emails_accepted": 5,
    "emails_forbidden": 0,
    "duplicates": 0,
    "lost": 0,
}


def test_good_figures_break_no_promise() -> None:
    assert broken_promises(GOOD) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"emails_expected": 0, "emails_accepted": 0}, "nothing was tried"),
        ({"emails_accepted": 6}, "not the mails owed"),
        ({"emails_forbidden": 1}, "must not"),
        ({"duplicates": 1}, "twice"),
        ({"lost": 1}, "lost"),
        ({"scored": 9}, "without score"),
        ({"segments": {"champion": 4}}, "do not add up"),
        ({"orders": 0}, "no order"),
    ],
)
def test_each_broken_promise_is_named(change: dict[str, Any], words: str) -> None:
    assert any(words in claim for claim in broken_promises(GOOD | change))
