"""Due messages of one shop become one batch of exact bytes, in one transaction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias, cast

from sqlalchemy.orm import Session

from activation.eligibility import Decision, Defer, Send, Skip, Stage
from activation.outbox.batches import BATCH_SIZE, LEASE, Held, Letter, store_batch
from activation.outbox.members import Failed, Member, claim_queued, judge, settle
from activation.provider import MailRequest
from activation.rendering.checks import MailError
from activation.rendering.compile import TemplateError
from activation.rendering.letters import compose, read_material
from core.settings import Settings

Serialise: TypeAlias = Callable[[Sequence[MailRequest]], bytes]


@dataclass(frozen=True)
class Frozen:
    """How many messages were looked at, and what became of those that are not in the batch."""

    claimed: int
    batch: Held | None = None
    skipped: int = 0
    deferred: int = 0
    failed: int = 0


def freeze_due(
    session: Session,
    shop_id: int,
    *,
    now: datetime,
    settings: Settings,
    serialise: Serialise,
    limit: int = BATCH_SIZE,
    lease: timedelta = LEASE,
) -> Frozen:
    """Freeze up to `limit` due messages of the shop; the caller's commit makes the batch real."""
    members = claim_queued(session, shop_id, now=now, limit=limit)
    if not members:
        return Frozen(claimed=0)
    return freeze_members(
        session,
        shop_id,
        members,
        now=now,
        settings=settings,
        serialise=serialise,
        lease=lease,
    )


def freeze_members(
    session: Session,
    shop_id: int,
    members: Sequence[Member],
    *,
    now: datetime,
    settings: Settings,
    serialise: Serialise,
    lease: timedelta = LEASE,
) -> Frozen:
    """Freeze queued messages that this transaction has locked."""
    outcomes: dict[int, Decision | Failed] = {
        **judge(
            session,
            shop_id,
            members,
            secret_key=settings.secret_key,
            now=now,
            stage=Stage.FREEZE,
        )
    }
    material = read_material(session, shop_id, members, settings=settings)
    letters: list[Letter] = []
    mails: list[MailRequest] = []
    for member in members:
        decision = outcomes[member.message_id]
        if not isinstance(decision, Send):
            continue
        try:
            mail, request = compose(material, member, decision.email)
        except (MailError, TemplateError) as error:
            outcomes[member.message_id] = Failed(str(error))
            continue
        letters.append(Letter(member, decision.email, mail.subject))
        mails.append(cast("MailRequest", request))
    rest = [m for m in members if not isinstance(outcomes[m.message_id], Send)]
    settle(session, shop_id, rest, outcomes, now=now)
    batch = None
    if letters:
        batch = store_batch(session, shop_id, letters, serialise(mails), now=now, lease=lease)
    return Frozen(
        claimed=len(members),
        batch=batch,
        skipped=sum(isinstance(each, Skip) for each in outcomes.values()),
        deferred=sum(isinstance(each, Defer) for each in outcomes.values()),
        failed=sum(isinstance(each, Failed) for each in outcomes.values()),
    )
