"""Decisions for mails that are looked at together."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from pydantic import SecretStr
from sqlalchemy.orm import Session

from activation.eligibility.checks import decide
from activation.eligibility.decisions import Decision, Send
from activation.eligibility.facts import Facts, Stage, Subject, load_facts
from activation.eligibility.turns import take_turns


def decide_all(
    session: Session,
    shop_id: int,
    subjects: Sequence[Subject],
    *,
    secret_key: SecretStr,
    now: datetime,
    stage: Stage = Stage.CREATED,
) -> dict[int, Decision]:
    """One decision per subject, in the caller's transaction.

    At `Stage.FREEZE` the turns at the addresses are kept until that transaction ends, so what is
    let through must be frozen in it.
    """
    turns = None
    if stage is Stage.FREEZE:
        turns = take_turns(session, shop_id, [(each.key, each.customer_id) for each in subjects])
    facts = load_facts(
        session, shop_id, subjects, secret_key=secret_key, now=now, stage=stage, turns=turns
    )
    if stage is not Stage.FREEZE:
        return {key: decide(each, now=now) for key, each in facts.items()}
    return decide_in_turn(subjects, facts, now=now)


def decide_in_turn(
    subjects: Sequence[Subject], facts: Mapping[int, Facts], *, now: datetime
) -> dict[int, Decision]:
    """The most urgent first; each that may leave counts for those after it. Pure."""
    leaving: Counter[str] = Counter()
    decisions: dict[int, Decision] = {}
    for subject in sorted(subjects, key=lambda each: _order(each, now)):
        known = facts.get(subject.key)
        if known is None:
            continue
        address = known.email_normalized or ""
        if leaving[address]:
            known = replace(known, counted=(*known.counted, *[now] * leaving[address]))
        decision = decide(known, now=now)
        decisions[subject.key] = decision
        if isinstance(decision, Send) and not known.is_test:
            leaving[address] += 1
    return decisions


def _order(subject: Subject, now: datetime) -> tuple[int, datetime, int]:
    return subject.priority, subject.due_at or now, subject.key
