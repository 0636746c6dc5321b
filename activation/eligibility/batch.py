"""Decisions for mails that are looked at together."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from pydantic import SecretStr
from sqlalchemy.orm import Session

from activation.eligibility.addresses import SPACE
from activation.eligibility.checks import decide
from activation.eligibility.decisions import Decision, Send
from activation.eligibility.facts import Known, Stage, Subject, read_known
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
    if not subjects:
        return {}
    turns = None
    if stage is Stage.FREEZE:
        turns = take_turns(session, shop_id, [(each.key, each.customer_id) for each in subjects])
    known = read_known(
        session, shop_id, subjects, secret_key=secret_key, now=now, stage=stage, turns=turns
    )
    return decide_known(known, subjects, now=now, is_in_turn=stage is Stage.FREEZE)


def decide_known(
    known: Known, subjects: Sequence[Subject], *, now: datetime, is_in_turn: bool
) -> dict[int, Decision]:
    """As `decide` says of each, most of them without asking it again. Pure.

    What a check goes by is said of the mail, or of its shop and flow. Once the checks have let
    through one mail of a flow of which nothing is said, they let through all such mails of it.
    In turn, the most urgent is first, and each that may leave counts for those after it.
    """
    row_of = {row.key: row for row in known.rows}
    let_through: set[int] = set()  # flows
    leaving: Counter[str] = Counter()
    decisions: dict[int, Decision] = {}
    for subject in sorted(subjects, key=lambda each: _order(each, now)) if is_in_turn else subjects:
        row = row_of.get(subject.key)
        if row is None:
            continue
        address = row.email_normalized or ""
        before = leaving[address] if is_in_turn else 0
        is_fine = not before and known.is_fine(row, subject, now=now)
        decision: Decision
        if is_fine and row.automation_id in let_through:
            decision = Send(row.email.strip(SPACE))
        else:
            facts = known.facts_of(row, subject)
            if before:
                facts = replace(facts, counted=(*facts.counted, *[now] * before))
            decision = decide(facts, now=now)
            if is_fine and isinstance(decision, Send):
                let_through.add(row.automation_id)
        decisions[subject.key] = decision
        if isinstance(decision, Send) and not subject.is_test:
            leaving[address] += 1
    return decisions


def _order(subject: Subject, now: datetime) -> tuple[int, datetime, int]:
    return subject.priority, subject.due_at or now, subject.key
