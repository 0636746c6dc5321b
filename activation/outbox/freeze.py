"""Due messages of one shop become batches of exact bytes, in one transaction."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from sqlalchemy.orm import Session

from activation.discounts.assigning import StepCodes, give_codes
from activation.discounts.terms import terms_of
from activation.eligibility import Decision, Defer, Send, Skip, Stage
from activation.outbox.batches import BATCH_SIZE, LEASE, Held, Letter, store_batches
from activation.outbox.members import Failed, Member, claim_queued, judge, settle
from activation.provider import MailRequest
from activation.rendering.checks import MailError
from activation.rendering.compile import TemplateError
from activation.rendering.letters import Material, compose, read_material
from core.settings import Settings

NONE: Final = ("", None)  # a step that is gone, which the letter says
Serialise: TypeAlias = Callable[[Sequence[MailRequest]], bytes]


@dataclass(frozen=True)
class Frozen:
    """How many messages were looked at, and what became of those that are in no batch."""

    claimed: int
    batches: tuple[Held, ...] = ()
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
    batch_size: int = BATCH_SIZE,
    batches: int = 1,
    lease: timedelta = LEASE,
) -> Frozen:
    """Freeze due messages of the shop, into up to so many batches; they are real at the commit."""
    members = claim_queued(session, shop_id, now=now, limit=batch_size * batches)
    if not members:
        return Frozen(claimed=0)
    return freeze_members(
        session,
        shop_id,
        members,
        now=now,
        settings=settings,
        serialise=serialise,
        batch_size=batch_size,
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
    batch_size: int = BATCH_SIZE,
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
    composed = _compose(session, shop_id, members, outcomes, settings=settings, now=now)
    rest = [m for m in members if not isinstance(outcomes[m.message_id], Send)]
    settle(session, shop_id, rest, outcomes, now=now)
    requests = [
        ([letter for letter, _ in part], serialise([mail for _, mail in part]))
        for part in (
            composed[start : start + batch_size] for start in range(0, len(composed), batch_size)
        )
    ]
    return Frozen(
        claimed=len(members),
        batches=(
            store_batches(session, shop_id, requests, now=now, lease=lease) if requests else ()
        ),
        skipped=sum(isinstance(each, Skip) for each in outcomes.values()),
        deferred=sum(isinstance(each, Defer) for each in outcomes.values()),
        failed=sum(isinstance(each, Failed) for each in outcomes.values()),
    )


def _compose(
    session: Session,
    shop_id: int,
    members: Sequence[Member],
    outcomes: dict[int, Decision | Failed],
    *,
    settings: Settings,
    now: datetime,
) -> list[tuple[Letter, MailRequest]]:
    """The letters of those who may be mailed; what cannot be rendered is a failed outcome, and who
    is to get a code that is not there yet waits.
    """
    material = read_material(session, shop_id, members, settings=settings)
    codes = _give_codes(session, shop_id, members, outcomes, material, now=now)
    material = replace(material, codes=codes)
    composed: list[tuple[Letter, MailRequest]] = []
    for member in members:
        decision = outcomes[member.message_id]
        if not isinstance(decision, Send):
            continue
        try:
            mail, request = compose(material, member, decision.email)
        except (MailError, TemplateError) as error:
            outcomes[member.message_id] = Failed(str(error))
            continue
        composed.append((Letter(member, decision.email, mail.subject), request))
    return composed


def _give_codes(
    session: Session,
    shop_id: int,
    members: Sequence[Member],
    outcomes: dict[int, Decision | Failed],
    material: Material,
    *,
    now: datetime,
) -> dict[int, str]:
    """Codes of their own for those whose step gives them, last of all: none is spent in vain."""
    by_step: dict[StepCodes, list[Member]] = defaultdict(list)
    for member in members:
        if not isinstance(outcomes[member.message_id], Send):
            continue
        _, step = material.steps.get((member.automation_id, member.version, member.step_key), NONE)
        if step is not None and step.unique_code is not None:
            terms, fixed = terms_of(step.unique_code), step.words.discount_code
            of = StepCodes(member.automation_id, step.step_key, terms, fixed)
            by_step[of].append(member)
    codes = {}
    for of, mails in by_step.items():
        for message_id, given in give_codes(session, shop_id, of, mails, now=now).items():
            if isinstance(given, str):
                codes[message_id] = given
            else:
                outcomes[message_id] = given
    return codes
