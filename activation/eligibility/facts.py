"""All that decides whether mails may leave, read for a whole batch at once."""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any, Final

from pydantic import SecretStr
from sqlalchemy import Row
from sqlalchemy.orm import Session

from activation.eligibility.caps import Cap
from activation.eligibility.flows import CONSENT_GIVEN, FlowRules, rules_by_trigger
from activation.eligibility.quiet import QuietHours
from activation.eligibility.reading import READ_FACTS, READ_SHOP
from activation.eligibility.rules import DEFAULTS, Rules
from activation.freshness import TOLD_BY_WEBHOOK, read_freshness
from core.ingestion.screen import Screen
from core.models.enums import ConsentState, DeferReason, GateCheck

# The provider may have taken a mail whose outcome we never learned until this long after it was
# frozen (outbox/batches.py gives up after 23 hours).
UNKNOWN_FOR: Final = timedelta(hours=24)
# A mail counts from when it was sent, which may be as long after it was frozen; and is looked up by
# either.
LAG: Final = timedelta(days=2)
CHANCES: Final = 1 << 32


class Stage(Enum):
    """When it is asked. Only mails that are about to be frozen take turns at their address."""

    CREATED = auto()
    FREEZE = auto()
    ATTEMPT = auto()


@dataclass(frozen=True)
class Subject:
    """One mail to decide on. `key` is the caller's: of an enrolment, and then of the message.

    `waits_for`: why it has been waiting, if it has. A test mail is held up by no cap and no gate.
    """

    key: int
    customer_id: int | None
    automation_id: int
    order_id: int | None
    expires_at: datetime
    due_at: datetime | None = None
    priority: int = 0
    waits_for: DeferReason | None = None
    is_test: bool = False


@dataclass(slots=True)
class Facts:
    """What is known about one subject at one instant. Instants are business time.

    Nobody changes them; frozen, each took as long to make as all else that is done for it.
    """

    automation_is_active: bool
    entry_holds: bool
    customer_is_known: bool
    customer_is_deleted: bool
    customer_is_merging: bool
    email: str | None
    email_normalized: str | None
    has_valid_email: bool | None
    consent_state: ConsentState | None
    consent_updated_at: datetime | None
    must_confirm: bool  # the shop wants a click, and there was none
    has_opted_out: bool  # of this flow
    asks_for_consent: bool  # the mail itself: it is no marketing
    unsubscribed_at: datetime | None
    is_suppressed: bool
    refresh_is_open: bool
    refresh_is_given_up: bool
    refresh_attempts: int
    has_postal_address: bool
    sender_address: str | None
    shop_is_disconnected: bool
    paused_until: datetime | None
    expires_at: datetime
    waits_for: DeferReason | None
    is_test: bool
    data_is_stale: bool
    data_is_held: bool
    quiet_hours: QuietHours | None  # None: none for this flow, as for the caps
    caps: tuple[Cap, ...]
    counted: tuple[datetime, ...]  # when other mails to the address left, as far as they count
    mails_before: int  # to the address, due, of other workers, and to go first
    has_turn: bool
    spread: float  # from 0 up to 1, the same for an address every time


def load_facts(
    session: Session,
    shop_id: int,
    subjects: Sequence[Subject],
    *,
    secret_key: SecretStr,
    now: datetime,
    stage: Stage = Stage.CREATED,
    turns: Mapping[int, str] | None = None,
) -> dict[int, Facts]:
    """Facts by the subjects' keys: one query for all, and three of the shop.

    `turns`: the address of each key whose turn is ours; None: nobody takes turns.
    Whoever was erased counts as suppressed, by number or by address, whatever else is known.
    """
    if not subjects:
        return {}
    shop = session.execute(
        READ_SHOP, {"shop_id": shop_id, "now": now, "no_marketing": CONSENT_GIVEN}
    ).one()
    rules = _rules(shop)
    rows = _read(session, shop_id, subjects, rules.caps, shop.uncounted, now=now, stage=stage)
    freshness = read_freshness(session, shop_id, now=now)
    screen = Screen.load_for(
        session,
        shop_id,
        secret_key,
        customer_ids=[row.customer_id for row in rows if row.customer_id is not None],
        emails=[row.email for row in rows],
    )
    flows = _Flows(shop, rules)
    subject_of = {subject.key: subject for subject in subjects}
    return {
        row.key: Facts(
            automation_is_active=row.automation_is_active,
            entry_holds=row.entry_holds,
            customer_is_known=row.customer_is_known,
            customer_is_deleted=row.customer_is_deleted,
            customer_is_merging=row.customer_is_merging,
            email=row.email,
            email_normalized=row.email_normalized,
            has_valid_email=row.has_valid_email,
            consent_state=row.consent_state and ConsentState(row.consent_state),
            consent_updated_at=row.consent_updated_at,
            must_confirm=row.must_confirm,
            has_opted_out=row.has_opted_out,
            asks_for_consent=row.trigger_type == CONSENT_GIVEN,
            unsubscribed_at=row.unsubscribed_at,
            is_suppressed=row.is_suppressed or _is_erased(screen, row.customer_id, row.email),
            refresh_is_open=row.refresh_is_open,
            refresh_is_given_up=row.refresh_is_given_up,
            refresh_attempts=row.refresh_attempts,
            has_postal_address=shop.has_postal_address,
            sender_address=shop.sender_address,
            shop_is_disconnected=shop.is_disconnected,
            paused_until=shop.paused_until,
            expires_at=subject_of[row.key].expires_at,
            waits_for=subject_of[row.key].waits_for,
            is_test=subject_of[row.key].is_test,
            data_is_stale=freshness.holds(row.trigger_type),
            data_is_held=_is_held(shop, row.trigger_type),
            quiet_hours=flows.quiet_hours_of(row),
            caps=flows.caps_of(row),
            counted=tuple(row.counted or ()),
            mails_before=row.mails_before,
            has_turn=turns is None or turns.get(row.key) == row.email_normalized,
            spread=_spread(row.email_normalized),
        )
        for row in rows
    }


def _read(
    session: Session,
    shop_id: int,
    subjects: Sequence[Subject],
    caps: Iterable[Cap],
    uncounted: Sequence[int],
    *,
    now: datetime,
    stage: Stage,
) -> Sequence[Row[Any]]:
    longest = max((cap.window for cap in caps), default=None)
    counts = stage is not Stage.CREATED and longest is not None
    return session.execute(
        READ_FACTS,
        {
            "shop_id": shop_id,
            "now": now,
            "since": now - (longest or timedelta()) - LAG,
            "unknown_for": UNKNOWN_FOR,
            "counts": counts,
            "uncounted": list(uncounted),
            "counts_queued": counts and stage is Stage.FREEZE,
            "keys": [subject.key for subject in subjects],
            "customer_ids": [subject.customer_id for subject in subjects],
            "automation_ids": list({subject.automation_id for subject in subjects}),
            "automation_of": [subject.automation_id for subject in subjects],
            "order_ids": [subject.order_id for subject in subjects],
            "priorities": [subject.priority for subject in subjects],
            "due_at": [subject.due_at for subject in subjects],
        },
    ).all()


class _Flows:
    """What each flow is held to under the shop's rules, worked out once per flow."""

    def __init__(self, shop: Row[Any], rules: Rules) -> None:
        self._caps = rules.caps
        self._quiet_hours = rules.quiet_hours(shop.shop_zone)
        self._known: dict[int, FlowRules] = {}

    def _of(self, row: Row[Any]) -> FlowRules:
        if row.automation_id not in self._known:
            self._known[row.automation_id] = rules_by_trigger(row.trigger_type).changed(
                is_capped=row.is_capped, keeps_quiet_hours=row.keeps_quiet_hours
            )
        return self._known[row.automation_id]

    def caps_of(self, row: Row[Any]) -> tuple[Cap, ...]:
        return self._caps if self._of(row).is_capped else ()

    def quiet_hours_of(self, row: Row[Any]) -> QuietHours | None:
        return self._quiet_hours if self._of(row).keeps_quiet_hours else None


def _rules(shop: Row[Any]) -> Rules:
    if not shop.has_rules:
        return DEFAULTS
    return Rules(
        short_cap_mails=shop.short_cap_mails,
        short_cap_hours=shop.short_cap_hours,
        long_cap_mails=shop.long_cap_mails,
        long_cap_days=shop.long_cap_days,
        quiet_from=shop.quiet_from,
        quiet_until=shop.quiet_until,
        time_zone=shop.time_zone,
    )


def _is_held(shop: Row[Any], trigger: str) -> bool:
    """Whether the data gate holds what this kind of flow goes by (holds.py): where the orders are
    in doubt no flow can be sure; where only segments are, those that an order starts can.
    """
    if not shop.is_held:
        return False
    return shop.held_check != GateCheck.SEGMENTS_SWING or trigger not in TOLD_BY_WEBHOOK


def _is_erased(screen: Screen | None, customer_id: int | None, email: str | None) -> bool:
    if screen is None:
        return False
    return screen.is_erased_email(email) or (
        customer_id is not None and screen.is_erased_customer(customer_id)
    )


def _spread(email_normalized: str | None) -> float:
    return zlib.crc32((email_normalized or "").encode()) / CHANCES
