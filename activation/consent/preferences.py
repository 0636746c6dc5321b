"""Which flows an address wants no mail of. Of "all marketing mail" it unsubscribes.

A choice belongs to the address, as an unsubscribe does, and survives the customer.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from activation.consent.ledger import Act, Change, record
from activation.consent.waiting import skip_queued
from core.models.enums import ConsentStanding, SkipReason

# Mails that the shop must send once whatever somebody prefers are no kind to choose.
NO_CHOICE: Final = "confirm_subscription"

READ_FLOWS = text("""
-- Returns the flows somebody may choose: those that are on, those the address left, and that of the
-- mail. Changes nothing. Primary keys.
SELECT
    automations.automation_id,
    automations.key,
    automations.name,
    automations.automation_id = :automation_id AS is_of_mail,
    opt_outs.automation_id IS NOT NULL AS is_left
FROM crm.automations
LEFT JOIN crm.opt_outs
    ON
        automations.shop_id = opt_outs.shop_id
        AND automations.automation_id = opt_outs.automation_id
        AND opt_outs.email_normalized = :email
        AND opt_outs.lifted_at IS NULL
WHERE
    automations.shop_id = :shop_id
    AND automations.key <> :no_choice
    AND (
        automations.is_active
        OR automations.automation_id = :automation_id
        OR opt_outs.automation_id IS NOT NULL
    )
ORDER BY is_of_mail DESC, automations.automation_id
""")

LEAVE = text("""
-- Returns the flows left by this. Changes crm.opt_outs. Primary key.
INSERT INTO crm.opt_outs AS opt_out (
    shop_id, email_normalized, automation_id, message_id, opted_out_at
)
SELECT :shop_id, :email, chosen.automation_id, :message_id, :now
FROM unnest(CAST(:automation_ids AS integer [])) AS chosen (automation_id)
ORDER BY chosen.automation_id
ON CONFLICT (shop_id, email_normalized, automation_id) DO UPDATE
    SET
        lifted_at = NULL,
        message_id = excluded.message_id,
        opted_out_at = excluded.opted_out_at
    WHERE opt_out.lifted_at IS NOT NULL
RETURNING opt_out.automation_id
""")

JOIN = text("""
-- Returns the flows joined again by this. Changes crm.opt_outs. Primary key.
UPDATE crm.opt_outs
SET lifted_at = :now
WHERE
    shop_id = :shop_id
    AND email_normalized = :email
    AND automation_id = ANY(CAST(:automation_ids AS integer []))
    AND lifted_at IS NULL
RETURNING automation_id
""")


@dataclass(frozen=True)
class Flow:
    """One kind of mail on the page. `is_of_mail`: the mail whose link was used is of it."""

    automation_id: int
    key: str
    name: str
    is_of_mail: bool
    is_wanted: bool


def read_flows(
    session: Session, shop_id: int, email: str, *, automation_id: int
) -> tuple[Flow, ...]:
    """The kinds of mail that an address may choose, the one of the mail at hand first."""
    rows = session.execute(
        READ_FLOWS,
        {
            "shop_id": shop_id,
            "email": email,
            "automation_id": automation_id,
            "no_choice": NO_CHOICE,
        },
    )
    return tuple(map(_flow, rows))


def choose_flows(
    session: Session,
    shop_id: int,
    email: str,
    wanted: AbstractSet[int],
    *,
    message_id: int,
    automation_id: int,
    now: datetime,
    act: Act,
) -> None:
    """From now on this (normalised) address gets mail of the `wanted` flows and of no other that it
    was shown. Flows it was not shown stay as they are.
    """
    shown = {
        flow.automation_id
        for flow in read_flows(session, shop_id, email, automation_id=automation_id)
    }
    values = {"shop_id": shop_id, "email": email, "now": now}
    left = session.scalars(
        LEAVE, {**values, "message_id": message_id, "automation_ids": sorted(shown - wanted)}
    ).all()
    joined = session.scalars(JOIN, {**values, "automation_ids": sorted(shown & wanted)}).all()
    if left:
        skip_queued(session, shop_id, email, SkipReason.OPTED_OUT, automation_ids=left, now=now)
    changes = [
        Change(
            shop_id=shop_id,
            email_normalized=email,
            state_before=before,
            state_after=after,
            occurred_at=now,
            automation_id=each,
            message_id=message_id,
        )
        for ids, before, after in (
            (left, ConsentStanding.SUBSCRIBED, ConsentStanding.UNSUBSCRIBED),
            (joined, ConsentStanding.UNSUBSCRIBED, ConsentStanding.SUBSCRIBED),
        )
        for each in sorted(ids)
    ]
    record(session, act, changes)


def _flow(row: Row[tuple[int, str, str, bool, bool]]) -> Flow:
    return Flow(row.automation_id, row.key, row.name, row.is_of_mail, not row.is_left)
