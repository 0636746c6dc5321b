"""The data gate: whether the boundaries of a full run may decide who gets mail (DESIGN §4).

Pure: figures in, a reason in words or None out. A failed check of the orchestrator does not by
itself stop what comes after it, so this is explicit code in the path.
"""

from dataclasses import dataclass
from typing import Final

MAX_FALL: Final = 0.02
MAX_MOVED: Final = 0.20
MIN_CUSTOMERS_FOR_SWING: Final = 200


@dataclass(frozen=True)
class Figures:
    """Counts of one shop at one full run."""

    customers: int
    buyers: int
    orders: int


@dataclass(frozen=True)
class Swing:
    """How many of the customers with a segment would change it."""

    members: int
    moved: int


def judge_data(current: Figures, accepted: Figures | None, *, mismatches: int) -> str | None:
    """The reason to hold, from the data alone; `accepted` None: the first run."""
    if mismatches:
        return (
            f"The statistics of {mismatches:,} customers differ from their orders. "
            "Nothing was changed; recompute the statistics and run again."
        )
    if accepted is None:
        return None
    for name, before, now in (
        ("customers", accepted.customers, current.customers),
        ("orders", accepted.orders, current.orders),
    ):
        if now < before * (1 - MAX_FALL):
            return (
                f"There are {now:,} {name}, {before - now:,} fewer than at the last accepted run "
                f"({before:,}; {_percent(before - now, before)} of them; up to 2% is normal). "
                "Data may be missing."
            )
    return None


def judge_swing(swing: Swing) -> str | None:
    """The reason to hold, from what the boundaries would do."""
    if swing.members < MIN_CUSTOMERS_FOR_SWING or swing.moved <= swing.members * MAX_MOVED:
        return None
    return (
        f"{swing.moved:,} of {swing.members:,} customers would change their segment in one run "
        f"({_percent(swing.moved, swing.members)}; up to 20% is normal)."
    )


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%"
