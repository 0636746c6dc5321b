"""What may come of one mail: it leaves, it never will, or it waits."""

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from core.models.enums import DeferReason, ExitReason, SkipReason


@dataclass(frozen=True)
class Send:
    """It may leave to this address."""

    email: str


@dataclass(frozen=True)
class Skip:
    """It will never leave. `waited_for`: what it waited for, if that made it too late. `exit`: why
    its customer left the flow, if they did.
    """

    reason: SkipReason
    waited_for: DeferReason | None = None
    exit: ExitReason | None = None


@dataclass(frozen=True)
class Defer:
    """It waits until `until` (business time); `needs_refresh` asks Shopify for the customer."""

    reason: DeferReason
    until: datetime
    needs_refresh: bool = False


Decision: TypeAlias = Send | Skip | Defer
