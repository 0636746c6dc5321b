"""What starts an automation for a customer. Moments and entry keys: docs/automations.md."""

from typing import Annotated, TypeAlias

import msgspec

from core.models.enums import Segment

Days: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=1095)]


class FirstOrder(msgspec.Struct, frozen=True, tag_field="type", tag="first_order"):
    """The customer's first counted order; its moment is the order's `processed_at`."""


class AnyOrder(msgspec.Struct, frozen=True, tag_field="type", tag="any_order"):
    """Every counted order; its moment is the order's `processed_at`."""


class EnteredSegment(
    msgspec.Struct,
    frozen=True,
    tag_field="type",
    tag="entered_segment",
    forbid_unknown_fields=True,
):
    """A stay began in any of `segments`, out of another one; its moment is `entered_at`."""

    segments: tuple[Segment, ...]


class AbandonedCheckout(msgspec.Struct, frozen=True, tag_field="type", tag="abandoned_checkout"):
    """A checkout with an address and no order. Its moment is its last update; who does not come
    back within the delay before the first step enters.
    """


class Silence(
    msgspec.Struct,
    frozen=True,
    tag_field="type",
    tag="silence",
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """`days` calendar days in the shop's zone without an order, while in any of `segments` (none
    named: in whichever). Its moment is when both are so.
    """

    days: Days
    segments: tuple[Segment, ...] = ()


class TagAdded(
    msgspec.Struct, frozen=True, tag_field="type", tag="tag_added", forbid_unknown_fields=True
):
    """The tag was added to the customer at Shopify; upper and lower case are one."""

    tag: str


class ConsentGiven(msgspec.Struct, frozen=True, tag_field="type", tag="consent_given"):
    """A subscription that is to be confirmed. Nobody is enrolled by it: activation/consent queues
    its one mail, which is no marketing.
    """


Trigger: TypeAlias = (
    FirstOrder | AnyOrder | EnteredSegment | AbandonedCheckout | Silence | TagAdded | ConsentGiven
)
