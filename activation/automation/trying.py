"""A test mail of a flow, at once, to an address that somebody chose.

It takes the way of every mail: a row of the ledger, the renderer, a frozen batch under its own key,
one attempt on record, the provider's answer. It is marked as a test there and in its subject, and
counts for no cap, statistic, holdout or gate. It needs neither Dagster nor the flow to be on.

Message, batch and attempt are committed together, so what exists is on its way: where the answer
never came, or this process died, the very same request is repeated, as always. What was refused is
over. It belongs to no customer, so nobody else would ever send it anew.

Nobody gets one who complained, bounced, was suppressed or erased, or unsubscribed here.
"""

import uuid
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import text
from sqlalchemy.orm import Session

from activation.automation.actions import walk
from activation.automation.definition import SendEmail
from activation.automation.library import flow_of
from activation.automation.validation import InvalidDefinition, Problem
from activation.automation.words import clean_words
from activation.dedupe import trial_key
from activation.eligibility.addresses import SPACE, is_address
from activation.outbox.answers import complete
from activation.outbox.batches import Held, Letter, store_batches
from activation.outbox.groups import begin_attempts
from activation.outbox.members import Member
from activation.outbox.pacing import wait_for_single
from activation.outbox.worker import Outbox
from activation.rendering.content import MailContent
from activation.rendering.context import CustomerFacts, PurchaseFacts
from activation.rendering.facts import load_customers, load_orders
from activation.rendering.letters import Material, compose, read_material
from activation.rendering.samples import SAMPLES
from activation.rendering.templates import Shows, load_template
from core.database import session_scope
from core.errors import PermanentError, TransientError
from core.ingestion.screen import Screen
from core.models.enums import MessageState

MARK: Final = "[Test] "
SAMPLE_CODE: Final = "SAMPLE-CODE"
WINDOW: Final = timedelta(minutes=10)
MOST_IN_WINDOW: Final = 20  # of a shop
TAG: Final = {"name": "test", "value": "true"}

LOCK_TESTS = text("""
-- Changes nothing; lets two tests of a shop at once count each other.
SELECT pg_advisory_xact_lock(hashtextextended('tests/' || :shop_id, 0))
""")

ADD_MESSAGE = text("""
-- Returns the message and its automation and version; nothing when there were too many lately.
-- Changes crm.messages: one test mail, of no customer.
-- Indexes ix_messages__tests, uq_automations__shop_id_key.
INSERT INTO crm.messages (
    shop_id, dedupe_key, automation_id, version, step_key, email, is_test, state, priority,
    due_at, expires_at, queued_at
)
SELECT
    automations.shop_id,
    :dedupe_key,
    automations.automation_id,
    automations.current_version,
    :step_key,
    :email,
    true,
    'queued',
    0,
    :now,
    CAST(:now AS timestamptz) + CAST(:window AS interval),
    :now
FROM crm.automations
WHERE
    automations.shop_id = :shop_id
    AND automations.key = :key
    AND (
        SELECT count(*)
        FROM crm.messages AS lately
        WHERE
            lately.shop_id = :shop_id
            AND lately.is_test
            AND lately.queued_at > CAST(:now AS timestamptz) - CAST(:window AS interval)
    ) < :at_most
RETURNING message_id, automation_id, version, due_at, expires_at
""")

READ_REFUSAL = text("""
-- Returns why nothing goes to this address, if so; the strictest reason. Changes nothing.
-- Primary key.
SELECT reason
FROM crm.suppressions
WHERE shop_id = :shop_id AND email_normalized = lower(btrim(:email)) AND lifted_at IS NULL
ORDER BY reason = 'unsubscribed', reason
LIMIT 1
""")

READ_LAST_ORDER = text("""
-- Returns the customer's last counted order, if there is one. Changes nothing.
-- Index ix_orders__customer.
SELECT order_id
FROM raw_shopify.orders
WHERE shop_id = :shop_id AND customer_id = :customer_id AND is_counted
ORDER BY processed_at DESC, order_id DESC
LIMIT 1
""")

READ_OUTCOME = text("""
-- Returns what became of the message. Changes nothing. Primary key.
SELECT state, failure, provider_message_id
FROM crm.messages
WHERE shop_id = :shop_id AND message_id = :message_id
""")

LET_GO = text("""
-- Changes crm.messages: a test that was not taken is over. Primary key.
UPDATE crm.messages
SET state = 'failed', failure = :failure, defer_reason = NULL, finished_at = :now
WHERE shop_id = :shop_id AND message_id = :message_id AND state = 'queued'
""")


@dataclass(frozen=True)
class Trial:
    """Which mail to whom. `step_key` None: the flow's first mail.

    `content`: the words of a form, saved or not, instead of the stored ones. `customer_id`: shown
    with this customer's name and last order instead of the sample's.
    """

    key: str
    to: str
    step_key: str | None = None
    content: MailContent | None = None
    customer_id: int | None = None
    sample: str = "usual"


@dataclass(frozen=True)
class Tried:
    """`state`: `sent` when the provider took it; `frozen` when it never said, and is asked again
    with the same request. `failure`: its refusal, in words.
    """

    message_id: int
    state: str
    subject: str
    failure: str | None
    provider_message_id: str | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Facts:
    customer: CustomerFacts
    purchase: PurchaseFacts


def send_trial(outbox: Outbox, shop_id: int, trial: Trial) -> Tried:
    """Send it and say what came of it. Waits for its turn at the provider, some seconds at most.

    Raises InvalidDefinition for words that cannot be, PermanentError for an address that gets
    nothing or a flow without such a mail, TransientError when there were too many lately.
    """
    address = trial.to.strip(SPACE)
    with session_scope(outbox.factory) as session:
        _refuse_address(session, outbox, shop_id, address)
        step = _step(session, shop_id, trial)
    if not wait_for_single(outbox.factory, outbox.pace, sleep=outbox.sleep):
        raise TransientError("The provider takes no mail just now. Nothing was sent.")
    held, message_id, subject = _freeze(outbox, shop_id, trial, step, address)
    outbox.checkpoint("attempt_committed")
    answer = outbox.provider.send_batch(held.body, held.idempotency_key)
    complete(outbox, held, answer)
    return _outcome(outbox, shop_id, message_id, subject)


def _refuse_address(session: Session, outbox: Outbox, shop_id: int, address: str) -> None:
    if not is_address(address):
        raise PermanentError("to: this is not an address that mail can be sent to.")
    screen = Screen.load_for(session, shop_id, outbox.settings.secret_key, emails=[address])
    reason = session.scalar(READ_REFUSAL, {"shop_id": shop_id, "email": address})
    if screen is not None and screen.is_erased_email(address):
        reason = "erased"
    if reason is not None:
        raise PermanentError(f"to: nothing is sent to this address ({reason}), not even a test.")


def _step(session: Session, shop_id: int, trial: Trial) -> SendEmail:
    """The mail to send, with the words to send."""
    flow = flow_of(session, shop_id, trial.key)
    if flow.definition is None:
        raise PermanentError(flow.problem or "This flow cannot be read.")
    mails = [step for step in walk(flow.definition.steps) if isinstance(step, SendEmail)]
    found = [each for each in mails if trial.step_key in {None, each.step_key}]
    if not found:
        named = f"no mail {trial.step_key!r}" if trial.step_key else "no mail"
        raise PermanentError(f"The flow {trial.key!r} has {named}.")
    content, faults = clean_words(trial.content or found[0].words)
    if faults:
        raise InvalidDefinition([Problem(f"content.{name}", words) for name, words in faults])
    return msgspec.structs.replace(found[0], content=content, subject=None)


def _freeze(
    outbox: Outbox, shop_id: int, trial: Trial, step: SendEmail, address: str
) -> tuple[Held, int, str]:
    """Message, batch and attempt in one transaction: what is committed is on its way."""
    now = outbox.clock.now()
    with session_scope(outbox.factory) as session:
        member = _add(session, shop_id, trial, step, address, now=now)
        material = _material(session, shop_id, trial, step, member, outbox)
        mail, request = compose(material, member, address)
        subject = f"{MARK}{mail.subject}"
        request["subject"] = subject
        request["tags"] = [*request["tags"], {"name": TAG["name"], "value": TAG["value"]}]
        # Of a real customer the ledger would keep the name, in a mail that is not theirs.
        kept = subject if trial.customer_id is None else f"{MARK}{trial.key}"
        body = outbox.provider.serialise([request])
        [held] = store_batches(
            session,
            shop_id,
            [([Letter(member, address, kept)], body)],
            now=now,
            lease=outbox.lease,
        )
        begin_attempts(
            session,
            shop_id,
            [held],
            started_at=session.scalar(text("SELECT clock_timestamp()")),
            lease=outbox.lease,
            run_id=outbox.run_id,
        )
    return held.begun(), member.message_id, subject


def _add(
    session: Session, shop_id: int, trial: Trial, step: SendEmail, address: str, *, now: datetime
) -> Member:
    key = trial_key(automation=trial.key, step_key=step.step_key, occasion=uuid.uuid4().hex)
    session.execute(LOCK_TESTS, {"shop_id": shop_id})
    row = session.execute(
        ADD_MESSAGE,
        {
            "shop_id": shop_id,
            "dedupe_key": key,
            "key": trial.key,
            "step_key": step.step_key,
            "email": address,
            "now": now,
            "window": WINDOW,
            "at_most": MOST_IN_WINDOW,
        },
    ).one_or_none()
    if row is None:
        raise TransientError(
            f"{MOST_IN_WINDOW} test mails in {WINDOW.seconds // 60} minutes are enough. "
            "Try again in a few.",
            retry_after=WINDOW,
        )
    return Member(
        message_id=row.message_id,
        automation_id=row.automation_id,
        version=row.version,
        step_key=step.step_key,
        customer_id=None,
        email=address,
        due_at=row.due_at,
        expires_at=row.expires_at,
        defer_reason=None,
        priority=0,
        is_test=True,
        dedupe_key=key,
        order_id=None,
    )


def _material(  # noqa: PLR0917 - one call of it
    session: Session,
    shop_id: int,
    trial: Trial,
    step: SendEmail,
    member: Member,
    outbox: Outbox,
) -> Material:
    """As of every letter, with these words and facts in the place of stored ones."""
    material = read_material(session, shop_id, [member], settings=outbox.settings)
    shows = load_template(step.template).shows
    facts = _facts(session, shop_id, trial, shows)
    return replace(
        material,
        steps={(member.automation_id, member.version, step.step_key): (trial.key, step)},
        customers={0: facts.customer},
        orders={0: facts.purchase},
        carts={member.message_id: facts.purchase},
        codes={member.message_id: SAMPLE_CODE} if step.unique_code is not None else {},
    )


def _facts(session: Session, shop_id: int, trial: Trial, shows: Shows) -> _Facts:
    sample = SAMPLES.get(trial.sample)
    if sample is None:
        raise PermanentError(f"sample: one of {', '.join(SAMPLES)}.")
    purchase = sample.purchase
    if shows is not Shows.CART:  # only a cart has a sum that is still to be paid
        purchase = replace(purchase, total="")
    if trial.customer_id is None:
        return _Facts(sample.customer, purchase)
    known = load_customers(session, shop_id, [trial.customer_id])
    if not known:
        raise PermanentError("This shop has no such customer.")
    order_id = session.scalar(
        READ_LAST_ORDER, {"shop_id": shop_id, "customer_id": trial.customer_id}
    )
    orders = load_orders(session, shop_id, [order_id] if order_id is not None else [])
    if shows is not Shows.CART:
        purchase = orders.get(order_id or 0, PurchaseFacts())
    return _Facts(known[trial.customer_id], purchase)


def _outcome(outbox: Outbox, shop_id: int, message_id: int, subject: str) -> Tried:
    """What was not taken is over: nobody waits for it to be tried again."""
    this = {"shop_id": shop_id, "message_id": message_id}
    with session_scope(outbox.factory) as session:
        failure = "The provider did not take it."
        session.execute(LET_GO, this | {"failure": failure, "now": outbox.clock.now()})
        row = session.execute(READ_OUTCOME, this).one()
    return Tried(
        message_id=message_id,
        state=MessageState(row.state).value,
        subject=subject,
        failure=row.failure,
        provider_message_id=row.provider_message_id,
    )
