"""Taking an address off the list: a person does it, says why, and it is kept.

manual                   whoever may write to customers
hard bounce, complaint   the owner
unsubscribed             nobody but the recipients themselves
erased                   nobody
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import SecretStr
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from activation.consent.ledger import Act, Change, record
from activation.suppressions.adding import normalized
from core.database import SessionFactory, session_scope
from core.errors import PermanentError
from core.ingestion.screen import ErasureHasher
from core.models import AuditEntry, ShopMember
from core.models.enums import (
    AuditAction,
    ConsentSource,
    ConsentStanding,
    Role,
    SuppressionReason,
)

OF_THE_OWNER = frozenset({SuppressionReason.HARD_BOUNCE, SuppressionReason.COMPLAINT})

READ_HELD = text("""
-- Returns for what reasons an address is on the list, and locks those rows. Primary key.
SELECT reason
FROM crm.suppressions
WHERE shop_id = :shop_id AND email_normalized = :email AND lifted_at IS NULL AND reason <> 'erased'
ORDER BY reason
FOR UPDATE
""")

LIFT = text("""
-- Changes crm.suppressions: they hold no more, and the provider is to be told so, whose list has
-- the address too after a bounce or complaint (mirror.py). Primary key.
UPDATE crm.suppressions
SET lifted_at = :now, pushed_at = coalesce(pushed_at, clock_timestamp())
WHERE
    shop_id = :shop_id
    AND email_normalized = :email
    AND reason = ANY(CAST(:reasons AS text []))
    AND lifted_at IS NULL
""")

READ_STATE = text("""
-- Returns the consent that Shopify told of last. Changes nothing. Index ix_customers__email.
SELECT consent_state
FROM raw_shopify.customers
WHERE
    shop_id = :shop_id
    AND email_normalized = :email
    AND deleted_at IS NULL
    AND consent_state IS NOT NULL
ORDER BY consent_updated_at DESC NULLS LAST, consent_state = 'SUBSCRIBED', customer_id
LIMIT 1
""")


@dataclass(frozen=True)
class Lifted:
    """For what reasons it was on the list, and whether its own unsubscribe still holds."""

    reasons: tuple[SuppressionReason, ...]
    is_unsubscribed: bool


def lift(
    factory: SessionFactory,
    *,
    shop_id: int,
    email: str,
    reason: str,
    now: datetime,
    secret_key: SecretStr,
    user_id: int | None = None,
) -> Lifted:
    """Take an address off the list, in one transaction with the audit entry.

    `user_id` None: whoever may use the command line, who owns the installation. Raises
    PermanentError without a reason, for an address that is not on the list, and for somebody who
    may not lift what it is on it for.
    """
    why = reason.strip()
    if not why:
        raise PermanentError("Say why this address may be written to again; the reason is kept.")
    address = normalized(email)
    with session_scope(factory) as session:
        rows = session.scalars(READ_HELD, {"shop_id": shop_id, "email": address}).all()
        held = [SuppressionReason(each) for each in rows]
        ours = [each for each in held if each is not SuppressionReason.UNSUBSCRIBED]
        is_unsubscribed = len(ours) < len(held)
        if not ours:
            raise PermanentError(_nothing(is_unsubscribed=is_unsubscribed))
        _check_may(session, shop_id, user_id, ours)
        session.execute(
            LIFT,
            {
                "shop_id": shop_id,
                "email": address,
                "reasons": [each.value for each in ours],
                "now": now,
            },
        )
        session.add(
            AuditEntry(
                shop_id=shop_id,
                acted_at=now,
                user_id=user_id,
                action=AuditAction.LIFT_SUPPRESSION,
                # Entries stay for good: the address itself would outlive an erasure.
                about=ErasureHasher(secret_key, shop_id).email(address),
                reason=why,
                figures={"lifted": [each.value for each in ours]},
            )
        )
        _tell_ledger(session, shop_id, address, now, user_id, is_unsubscribed=is_unsubscribed)
    return Lifted(tuple(ours), is_unsubscribed)


def _nothing(*, is_unsubscribed: bool) -> str:
    if is_unsubscribed:
        return (
            "This address unsubscribed. Only its owner can take that back: by the link in a mail, "
            "or by subscribing in the shop."
        )
    return "This address is not on the list."


def _check_may(
    session: Session, shop_id: int, user_id: int | None, reasons: Sequence[SuppressionReason]
) -> None:
    if user_id is None:
        return
    role = session.scalar(
        select(ShopMember.role).where(ShopMember.shop_id == shop_id, ShopMember.user_id == user_id)
    )
    if role is None or role is Role.ANALYST:
        raise PermanentError("You may not change this shop's list.")
    if role is not Role.OWNER and OF_THE_OWNER & set(reasons):
        raise PermanentError(
            "After a bounce or a complaint only the owner of the shop may do this."
        )


def _tell_ledger(
    session: Session,
    shop_id: int,
    email: str,
    now: datetime,
    user_id: int | None,
    *,
    is_unsubscribed: bool,
) -> None:
    told = session.scalar(READ_STATE, {"shop_id": shop_id, "email": email})
    after = ConsentStanding.UNSUBSCRIBED if is_unsubscribed else told and ConsentStanding(told)
    if after is None:
        return  # nobody's customer: there is no permission to speak of
    change = Change(
        shop_id=shop_id,
        email_normalized=email,
        state_before=ConsentStanding.SUPPRESSED,
        state_after=after,
        occurred_at=now,
        user_id=user_id,
    )
    record(session, Act(ConsentSource.OWNER), [change])
