"""The data gate: whether new data may decide who is in which segment, and so who gets mail
(DESIGN §4).

Pure: figures in, a finding in words or None out. A failed check of the orchestrator does not by
itself stop what comes after it, so this is explicit code in the path: before the boundaries of a
full run are accepted (scoring.py), and before many orders that came together move their customers
(touched.py).
"""

from dataclasses import dataclass
from typing import Final

from core.models.enums import GateCheck


@dataclass(frozen=True)
class Gate:
    """Its limits. Off, it finds nothing; only tests have a reason for that."""

    is_on: bool = True
    max_fall: float = 0.02
    max_moved: float = 0.20
    min_customers_for_swing: int = 200


GATE: Final = Gate()


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


@dataclass(frozen=True)
class Finding:
    """Why data is held: which claim is not true, and how, for a merchant."""

    check: GateCheck
    reason: str


def judge_data(
    current: Figures, accepted: Figures | None, *, mismatches: int, gate: Gate = GATE
) -> Finding | None:
    """The reason to hold a full run, from the data alone; `accepted` None: the first run."""
    if not gate.is_on:
        return None
    if mismatches:
        return Finding(
            GateCheck.STATISTICS_DIFFER,
            f"The statistics of {mismatches:,} customers differ from their orders. "
            "Nothing was changed.",
        )
    if accepted is None:
        return None
    return _fall(
        GateCheck.CUSTOMERS_FELL, "customers", accepted.customers, current.customers, gate
    ) or _fall(GateCheck.ORDERS_FELL, "orders", accepted.orders, current.orders, gate)


def _fall(check: GateCheck, name: str, before: int, now: int, gate: Gate) -> Finding | None:
    if not fell(before, now, gate=gate):
        return None
    return Finding(
        check,
        f"There are {now:,} {name}, {before - now:,} fewer than at the last accepted run "
        f"({before:,}; {_percent(before - now, before)} of them; up to "
        f"{gate.max_fall:.0%} is normal). Data may be missing.",
    )


def fell(before: int, now: int, *, gate: Gate = GATE) -> bool:
    """Whether so many rows are missing that data may be."""
    return now < before * (1 - gate.max_fall)


def swings(swing: Swing, *, gate: Gate = GATE) -> bool:
    """Whether more customers would move than is normal; small shops always may."""
    return (
        swing.members >= gate.min_customers_for_swing
        and swing.moved > swing.members * gate.max_moved
    )


def judge_swing(swing: Swing, *, gate: Gate = GATE) -> Finding | None:
    """The reason to hold a full run, from what its boundaries would do."""
    if not (gate.is_on and swings(swing, gate=gate)):
        return None
    return Finding(
        GateCheck.SEGMENTS_SWING,
        f"{swing.moved:,} of {swing.members:,} customers would change their segment in one run "
        f"({_percent(swing.moved, swing.members)}; up to {gate.max_moved:.0%} is normal).",
    )


def judge_orders(swing: Swing, *, gate: Gate = GATE) -> Finding | None:
    """The reason to hold orders that came together, from what they would do at once."""
    if not (gate.is_on and swings(swing, gate=gate)):
        return None
    return Finding(
        GateCheck.ORDERS_SWING,
        f"Orders since the last full run would move {swing.moved:,} of {swing.members:,} "
        f"customers to another segment ({_percent(swing.moved, swing.members)}; up to "
        f"{gate.max_moved:.0%} between two runs is normal).",
    )


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%"
