"""What a flow is held to: how urgent its mail is, whether caps and quiet hours are for it.

By default its trigger says so; a version of an automation may say otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class Priority(IntEnum):
    """Of two mails to one address the one with the lower number goes first."""

    CONFIRMATION = 5
    CART = 10
    WELCOME = 20
    VIP = 30
    WIN_BACK = 40
    REPURCHASE = 50
    OTHER = 60


@dataclass(frozen=True)
class FlowRules:
    priority: int
    is_capped: bool
    keeps_quiet_hours: bool

    def changed(
        self,
        *,
        priority: int | None = None,
        is_capped: bool | None = None,
        keeps_quiet_hours: bool | None = None,
    ) -> "FlowRules":
        """These, except where something else is said."""
        return FlowRules(
            priority=self.priority if priority is None else priority,
            is_capped=self.is_capped if is_capped is None else is_capped,
            keeps_quiet_hours=(
                self.keeps_quiet_hours if keeps_quiet_hours is None else keeps_quiet_hours
            ),
        )


# What asks for a permission is no marketing: no cap holds it up, and it counts for none.
CONSENT_GIVEN: Final = "consent_given"
BY_TRIGGER: Final[Mapping[str, FlowRules]] = {
    CONSENT_GIVEN: FlowRules(Priority.CONFIRMATION, is_capped=False, keeps_quiet_hours=False),
    "abandoned_checkout": FlowRules(Priority.CART, is_capped=True, keeps_quiet_hours=False),
    "first_order": FlowRules(Priority.WELCOME, is_capped=True, keeps_quiet_hours=False),
    "entered_segment": FlowRules(Priority.VIP, is_capped=True, keeps_quiet_hours=True),
    "silence": FlowRules(Priority.WIN_BACK, is_capped=True, keeps_quiet_hours=True),
}
# A trigger that nobody has spoken for waits as the strictest does, and last.
STRICTEST: Final = FlowRules(Priority.OTHER, is_capped=True, keeps_quiet_hours=True)


def rules_by_trigger(trigger: str) -> FlowRules:
    return BY_TRIGGER.get(trigger, STRICTEST)
