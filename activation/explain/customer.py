"""One customer and one flow: did they get its mail, and if not, what stands in the way?

The answer's `code` is a condition or a check that does not hold (`flow_is_on`, `is_subscribed`), or
what became of the last time they entered (`mail_sent`, `on_the_way`, …).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from pydantic import SecretStr
from sqlalchemy.orm import Session

from activation.eligibility import Stage, Subject, examine, load_facts
from activation.eligibility.rules import read_rules
from activation.explain import checks, words
from activation.explain.conditions import Considered, consider
from activation.explain.entries import enrolment_parts
from activation.explain.people import Found, find_customer
from activation.explain.shapes import (
    CheckPart,
    CheckResult,
    CustomerExplained,
    EnrolmentPart,
    Finding,
    MailPart,
)
from activation.explain.situation import (
    READ_COUNTED,
    Flow,
    Situation,
    read_flow,
    read_situation,
)
from core.models.enums import EnrollmentState

NOBODY: Final = {
    "erased": "This person was erased at their request; nothing about them is kept, and they are "
    "never mailed again.",
    "unknown_customer": "Shopify has told of no such customer of this shop.",
}
IS_GONE: Final = Finding("customer_exists", False, "the customer was deleted in Shopify")
IS_MERGING: Final = Finding(
    "not_merging", False, "Shopify merged two customers, and what belongs to whom is put together"
)


def explain_customer(
    session: Session,
    shop_id: int,
    customer: int | str,
    automation_key: str,
    *,
    secret_key: SecretStr,
    now: datetime,
) -> CustomerExplained:
    """Why they have not got the mail of this flow, or that they have.

    `customer`: a number, gid://shopify/Customer/… or an address. Raises PermanentError for anything
    else, and when the shop has no such flow.
    """
    flow = read_flow(session, shop_id, automation_key)
    found = find_customer(session, shop_id, customer, secret_key=secret_key)
    if found.customer_id is None:
        return _nobody(flow, "erased" if found.is_erased else "unknown_customer", now=now)
    situation = read_situation(session, shop_id, flow, found.customer_id, now=now)
    considered = _with_person(consider(situation), found)
    entries = enrolment_parts(session, shop_id, situation)
    asked = _examine(session, shop_id, situation, secret_key=secret_key)
    code, said = _answer(situation, considered, entries, asked)
    return CustomerExplained(
        code=code,
        words=said,
        flow_key=flow.key,
        flow_name=flow.name,
        customer_id=found.customer_id,
        merged_from=found.merged_from,
        asked_at=now,
        expected_at=considered.expected_at,
        conditions=considered.findings,
        enrolments=entries,
        checks=asked,
        counted_mails=_counted(session, shop_id, situation),
    )


def _nobody(flow: Flow, code: str, *, now: datetime) -> CustomerExplained:
    return CustomerExplained(
        code=code,
        words=NOBODY[code],
        flow_key=flow.key,
        flow_name=flow.name,
        customer_id=None,
        merged_from=None,
        asked_at=now,
        expected_at=None,
        conditions=(),
        enrolments=(),
        checks=(),
        counted_mails=(),
    )


def _with_person(considered: Considered, found: Found) -> Considered:
    first = []
    if found.deleted_at is not None:
        first.append(IS_GONE)
    if found.is_merging:
        first.append(IS_MERGING)
    return considered.after(first)


def _examine(
    session: Session, shop_id: int, situation: Situation, *, secret_key: SecretStr
) -> tuple[CheckPart, ...]:
    """What the checks would say of a mail of this flow to them if it were due now."""
    definition = situation.definition
    subject = Subject(
        key=0,
        customer_id=situation.customer_id,
        automation_id=situation.flow.automation_id,
        order_id=None,
        expires_at=situation.now + definition.late_after,
        due_at=situation.now,
        priority=definition.rules.priority,
    )
    facts = load_facts(
        session,
        shop_id,
        [subject],
        secret_key=secret_key,
        now=situation.now,
        stage=Stage.FREEZE,
    )
    return checks.examined(examine(facts[subject.key], now=situation.now))


def _counted(session: Session, shop_id: int, situation: Situation) -> tuple[MailPart, ...]:
    """The mails to their address within the longest cap."""
    caps = read_rules(session, shop_id).caps
    if not caps or not situation.row.email:
        return ()
    since = situation.now - max(cap.window for cap in caps)
    rows = session.execute(
        READ_COUNTED, {"shop_id": shop_id, "email": situation.row.email, "since": since}
    )
    zone = situation.flow.zone
    return tuple(
        MailPart(
            message_id=row.message_id,
            flow=row.flow,
            state=row.state,
            reason=None,
            at=row.at,
            words=f"a mail of {row.flow} on {words.when(row.at, zone)}",
        )
        for row in rows
    )


def _answer(
    situation: Situation,
    considered: Considered,
    entries: Sequence[EnrolmentPart],
    asked: Sequence[CheckPart],
) -> tuple[str, str]:
    latest = next(iter(entries), None)
    if latest is not None and latest.state == EnrollmentState.ACTIVE:
        return "on_the_way", latest.words
    if latest is not None and (
        considered.entry_key is None or latest.entry_key == considered.entry_key
    ):
        return outcome_of(latest), latest.words
    last_time = f" The last time: {latest.words}" if latest else ""
    stands = considered.in_the_way
    if stands is not None:
        return stands.code, f"{_sentence(stands.words)}{last_time}"
    refusal = next((each for each in asked if each.result is not CheckResult.PASSED), None)
    if refusal is not None:
        until = f" until {words.when(refusal.until, situation.flow.zone)}" if refusal.until else ""
        held = "the mail would wait" if refusal.result is CheckResult.WAITS else "no mail would go"
        said = _sentence(f"they would enter, and {held}{until}: {refusal.words}")
        return refusal.check, f"{said}{last_time}"
    return "enters_next", "Everything holds: they enter at the next evaluation."


def outcome_of(entry: EnrolmentPart) -> str:
    """What became of it: of its last mail, or of the entry itself where there was none."""
    if entry.mails:
        mail = entry.mails[0]
        return f"mail_{mail.state}"
    return entry.state


def _sentence(said: str) -> str:
    return f"{said[0].upper()}{said[1:]}."
