"""All that decides whether mails may leave, read for a whole batch at once."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any, Final

from pydantic import SecretStr
from sqlalchemy import Row
from sqlalchemy.orm import Session

from activation.eligibility.addresses import is_address
from activation.eligibility.caps import Cap, free_at
from activation.eligibility.exits import read_exits
from activation.eligibility.flows import CONSENT_GIVEN, FlowRules, rules_by_trigger
from activation.eligibility.quiet import QuietHours
from activation.eligibility.reading import READ_FACTS, READ_SHOP
from activation.eligibility.rules import DEFAULTS, Rules
from activation.freshness import TOLD_BY_WEBHOOK, Freshness, read_freshness
from core.arrays import array_text
from core.ingestion.screen import Screen
from core.models.enums import ConsentState, DeferReason, ExitReason, GateCheck

# The provider may have taken a mail whose outcome we never learned until this long after it was
# frozen (outbox/batches.py gives up after 23 hours).
UNKNOWN_FOR: Final = timedelta(hours=24)
# A mail counts from when it was sent, which may be as long after it was frozen; and is looked up by
# either.
LAG: Final = timedelta(days=2)
CHANCES: Final = 1 << 32
NOBODY: Final[Mapping[int, ExitReason]] = {}


class Stage(Enum):
    """When it is asked. Only mails that are about to be frozen take turns at their address."""

    CREATED = auto()
    FREEZE = auto()
    ATTEMPT = auto()


@dataclass(slots=True)
class Subject:
    """One mail to decide on. `key` is the caller's: of an enrolment, and then of the message.

    `waits_for`: why it has been waiting, if it has. `enrollment_id`: whose exits are looked at,
    where its flow has any. A test mail is held up by no cap and no gate, and by no exit.
    Nobody changes it; as for facts, being frozen would cost more than all it is used for.
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
    enrollment_id: int | None = None


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
    exit_reason: ExitReason | None = None  # why `entry_holds` is not so


# What is said of a mail itself when nothing speaks against it: the last columns of READ_FACTS.
FINE: Final[Mapping[str, object]] = {
    "automation_is_active": True,
    "entry_holds": True,
    "customer_is_known": True,
    "customer_is_deleted": False,
    "customer_is_merging": False,
    "consent_state": ConsentState.SUBSCRIBED.value,
    "must_confirm": False,
    "has_opted_out": False,
    "unsubscribed_at": None,
    "is_suppressed": False,
    "refresh_is_open": False,
    "refresh_is_given_up": False,
    "mails_before": 0,
}
_FINE_FROM: Final = -len(FINE)
_ALL_FINE: Final = tuple(FINE.values())


class Known:
    """Everything that was read for one batch; facts of one mail are made when they are wanted."""

    def __init__(
        self,
        shop: Row[Any],
        rows: Sequence[Row[Any]],
        freshness: Freshness,
        screen: Screen | None,
        turns: Mapping[int, str] | None,
        *,
        exits: Mapping[int, ExitReason] = NOBODY,
    ) -> None:
        self.rows = rows
        self._exits = exits
        self._shop = shop
        self._freshness = freshness
        self._screen = screen
        self._turns = turns
        self._flows = _Flows(shop, _rules(shop))

    def facts_of(self, row: Row[Any], subject: Subject) -> Facts:
        shop = self._shop
        exit_reason = self._exit_of(row, subject)
        return Facts(
            automation_is_active=row.automation_is_active,
            entry_holds=exit_reason is None,
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
            is_suppressed=row.is_suppressed or self._is_erased(row),
            refresh_is_open=row.refresh_is_open,
            refresh_is_given_up=row.refresh_is_given_up,
            refresh_attempts=row.refresh_attempts,
            has_postal_address=shop.has_postal_address,
            sender_address=shop.sender_address,
            shop_is_disconnected=shop.is_disconnected,
            paused_until=shop.paused_until,
            expires_at=subject.expires_at,
            waits_for=subject.waits_for,
            is_test=subject.is_test,
            data_is_stale=self._freshness.holds(row.trigger_type),
            data_is_held=_is_held(shop, row.trigger_type),
            quiet_hours=self._flows.quiet_hours_of(row),
            caps=self._flows.caps_of(row),
            counted=tuple(row.counted or ()),
            mails_before=row.mails_before,
            has_turn=self._has_turn(row),
            spread=_spread(row.email_normalized),
            exit_reason=exit_reason,
        )

    def is_fine(self, row: Row[Any], subject: Subject, *, now: datetime) -> bool:
        """Whether nothing speaks against this mail but, perhaps, what holds for its whole flow.

        It asks for less than the checks do: of what it lets through `decide` would say the same,
        of all else it says nothing.
        """
        return (
            row[_FINE_FROM:] == _ALL_FINE
            and not subject.is_test
            and row.key not in self._exits
            and now <= subject.expires_at
            and row.has_valid_email is not False
            and bool(row.email)
            and is_address(row.email)
            and self._has_turn(row)
            and not self._is_erased(row)
            and (not row.counted or free_at(self._flows.caps_of(row), row.counted, now=now) is None)
        )

    def _exit_of(self, row: Row[Any], subject: Subject) -> ExitReason | None:
        if subject.is_test:
            return None
        return self._exits.get(row.key) or (None if row.entry_holds else ExitReason.ORDER_GONE)

    def _has_turn(self, row: Row[Any]) -> bool:
        return self._turns is None or self._turns.get(row.key) == row.email_normalized

    def _is_erased(self, row: Row[Any]) -> bool:
        screen = self._screen
        if screen is None:
            return False
        return screen.is_erased_email(row.email) or (
            row.customer_id is not None and screen.is_erased_customer(row.customer_id)
        )


def read_known(
    session: Session,
    shop_id: int,
    subjects: Sequence[Subject],
    *,
    secret_key: SecretStr,
    now: datetime,
    stage: Stage = Stage.CREATED,
    turns: Mapping[int, str] | None = None,
) -> Known:
    """One query for all subjects, and three of the shop; one more where a flow has exits.

    `turns`: the address of each key whose turn is ours; None: nobody takes turns.
    Whoever was erased counts as suppressed, by number or by address, whatever else is known.
    """
    shop = session.execute(
        READ_SHOP, {"shop_id": shop_id, "now": now, "no_marketing": CONSENT_GIVEN}
    ).one()
    rows = _read(session, shop_id, subjects, shop, now=now, stage=stage)
    freshness = read_freshness(session, shop_id, now=now)
    screen = Screen.load_for(
        session,
        shop_id,
        secret_key,
        customer_ids=(row.customer_id for row in rows if row.customer_id is not None),
        emails=(row.email for row in rows),
    )
    exits = _read_exits(session, shop_id, subjects, shop)
    return Known(shop, rows, freshness, screen, turns, exits=exits)


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
    """Facts by the subjects' keys, to be decided on or explained one by one."""
    if not subjects:
        return {}
    known = read_known(
        session, shop_id, subjects, secret_key=secret_key, now=now, stage=stage, turns=turns
    )
    subject_of = {subject.key: subject for subject in subjects}
    return {row.key: known.facts_of(row, subject_of[row.key]) for row in known.rows}


def _read(
    session: Session,
    shop_id: int,
    subjects: Sequence[Subject],
    shop: Row[Any],
    *,
    now: datetime,
    stage: Stage,
) -> Sequence[Row[Any]]:
    longest = max((cap.window for cap in _rules(shop).caps), default=None)
    counts = stage is not Stage.CREATED and longest is not None
    return session.execute(
        READ_FACTS,
        {
            "shop_id": shop_id,
            "now": now,
            "since": now - (longest or timedelta()) - LAG,
            "unknown_for": UNKNOWN_FOR,
            "counts": counts,
            "uncounted": array_text(shop.uncounted),
            "counts_queued": counts and stage is Stage.FREEZE,
            "keys": array_text([subject.key for subject in subjects]),
            "customer_ids": array_text([subject.customer_id for subject in subjects]),
            "automation_ids": array_text({subject.automation_id for subject in subjects}),
            "automation_of": array_text([subject.automation_id for subject in subjects]),
            "order_ids": array_text([subject.order_id for subject in subjects]),
            "priorities": array_text([subject.priority for subject in subjects]),
            "due_at": [subject.due_at for subject in subjects],
        },
    ).all()


def _read_exits(
    session: Session, shop_id: int, subjects: Sequence[Subject], shop: Row[Any]
) -> Mapping[int, ExitReason]:
    watched = frozenset(shop.watched)
    asked = {
        subject.key: subject.enrollment_id
        for subject in subjects
        if subject.enrollment_id is not None
        and subject.automation_id in watched
        and not subject.is_test
    }
    return read_exits(session, shop_id, asked, automation_ids=watched) if asked else NOBODY


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


def _spread(email_normalized: str | None) -> float:
    return zlib.crc32((email_normalized or "").encode()) / CHANCES
