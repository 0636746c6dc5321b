"""All that decides whether mails may leave, read for a whole batch at once."""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any, Final

from pydantic import SecretStr
from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from activation.eligibility.caps import Cap
from activation.eligibility.flows import CONSENT_GIVEN, FlowRules, rules_by_trigger
from activation.eligibility.quiet import QuietHours
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

READ_SHOP = text("""
-- Returns what decides for all mail of the shop. Changes nothing. Primary keys.
SELECT
    coalesce(btrim(shops.postal_address), '') <> '' AS has_postal_address,
    shops.sender_address,
    shops.uninstalled_at IS NOT NULL AS is_disconnected,
    shops.segments_held_at IS NOT NULL AS is_held,
    shops.segments_held_check AS held_check,
    shops.time_zone AS shop_zone,
    CASE
        WHEN send_paces.paused_until > clock_timestamp()
            THEN :now + (send_paces.paused_until - clock_timestamp())
    END AS paused_until,
    ARRAY(
        SELECT automations.automation_id
        FROM crm.automations
        INNER JOIN crm.automation_versions AS versions
            ON
                automations.shop_id = versions.shop_id
                AND automations.automation_id = versions.automation_id
                AND automations.current_version = versions.version
        WHERE
            automations.shop_id = shops.shop_id
            AND versions.definition #>> '{trigger,type}' = :no_marketing
    ) AS uncounted,
    send_rules.shop_id IS NOT NULL AS has_rules,
    send_rules.short_cap_mails,
    send_rules.short_cap_hours,
    send_rules.long_cap_mails,
    send_rules.long_cap_days,
    send_rules.quiet_from,
    send_rules.quiet_until,
    send_rules.time_zone
FROM crm.shops
LEFT JOIN crm.send_paces ON shops.shop_id = send_paces.shop_id
LEFT JOIN crm.send_rules ON shops.shop_id = send_rules.shop_id
WHERE shops.shop_id = :shop_id
""")

READ_FACTS = text("""
-- Returns one row per subject: all that decides whether its mail may leave. Changes nothing.
-- Primary keys throughout, and ix_messages__address twice for what is counted: mails to the address
-- since :since, and mails that are due and go before this one. A mail that may still leave, or may
-- have, counts as leaving now. A mail without an instant is queued; written so, no index of queued
-- mails is taken, in which many may be.
WITH flows AS MATERIALIZED (
    SELECT
        automations.automation_id,
        automations.is_active,
        coalesce(versions.definition #>> '{trigger,type}', '') AS trigger_type,
        CAST(versions.definition ->> 'priority' AS integer) AS priority,
        CAST(versions.definition ->> 'is_capped' AS boolean) AS is_capped,
        CAST(versions.definition ->> 'keeps_quiet_hours' AS boolean) AS keeps_quiet_hours
    FROM crm.automations
    LEFT JOIN crm.automation_versions AS versions
        ON
            automations.shop_id = versions.shop_id
            AND automations.automation_id = versions.automation_id
            AND automations.current_version = versions.version
    WHERE
        automations.shop_id = :shop_id
        AND automations.automation_id = ANY(CAST(:automation_ids AS integer []))
)

SELECT
    subject.key,
    subject.customer_id,
    flows.automation_id,
    flows.is_active AS automation_is_active,
    flows.trigger_type,
    flows.priority AS flow_priority,
    flows.is_capped,
    flows.keeps_quiet_hours,
    subject.order_id IS NULL
    OR coalesce(orders.is_counted AND orders.customer_id = subject.customer_id, false)
        AS entry_holds,
    customers.customer_id IS NOT NULL AS customer_is_known,
    subject.customer_id IS NULL OR customers.deleted_at IS NOT NULL AS customer_is_deleted,
    EXISTS (
        SELECT 1
        FROM raw_shopify.customer_merges AS merges
        WHERE
            merges.shop_id = :shop_id
            AND merges.applied_at IS NULL
            AND subject.customer_id IN (merges.deleted_customer_id, merges.kept_customer_id)
    ) AS customer_is_merging,
    customers.email,
    customers.email_normalized,
    customers.has_valid_email,
    customers.consent_state,
    customers.consent_updated_at,
    (
        SELECT suppressions.suppressed_at
        FROM crm.suppressions
        WHERE
            suppressions.shop_id = :shop_id
            AND suppressions.email_normalized = customers.email_normalized
            AND suppressions.reason = 'unsubscribed'
            AND suppressions.lifted_at IS NULL
    ) AS unsubscribed_at,
    EXISTS (
        SELECT 1
        FROM crm.suppressions
        WHERE
            suppressions.shop_id = :shop_id
            AND suppressions.email_normalized = customers.email_normalized
            AND suppressions.reason <> 'unsubscribed'
            AND suppressions.lifted_at IS NULL
    ) AS is_suppressed,
    requests.object_id IS NOT NULL AND requests.next_attempt_at IS NOT NULL AS refresh_is_open,
    requests.object_id IS NOT NULL AND requests.next_attempt_at IS NULL AS refresh_is_given_up,
    coalesce(requests.attempts, 0) AS refresh_attempts,
    CASE
        WHEN :counts THEN ARRAY(
            SELECT
                CASE other.state
                    WHEN 'frozen' THEN :now
                    WHEN 'unknown' THEN least(:now, other.frozen_at + :unknown_for)
                    ELSE coalesce(other.sent_at, other.frozen_at)
                END
            FROM crm.messages AS other
            WHERE
                other.shop_id = :shop_id
                AND lower(btrim(other.email)) = customers.email_normalized
                AND coalesce(other.sent_at, other.frozen_at) > :since
                AND other.state NOT IN ('skipped', 'failed')
                AND NOT other.is_test
                AND NOT other.automation_id = ANY(CAST(:uncounted AS integer []))
                AND other.message_id <> subject.key
        )
    END AS counted,
    CASE
        WHEN :counts_queued THEN (
            SELECT count(*)
            FROM crm.messages AS rival
            WHERE
                rival.shop_id = :shop_id
                AND lower(btrim(rival.email)) = customers.email_normalized
                AND coalesce(rival.sent_at, rival.frozen_at) IS NULL
                AND rival.state NOT IN ('skipped', 'failed')
                AND rival.due_at <= :now
                AND NOT rival.is_test
                AND NOT rival.automation_id = ANY(CAST(:uncounted AS integer []))
                AND (rival.priority, rival.due_at, rival.message_id)
                < (subject.priority, subject.due_at, subject.key)
                AND NOT rival.message_id = ANY(CAST(:keys AS bigint []))
        )
        ELSE 0
    END AS mails_before
FROM
    unnest(
        CAST(:keys AS bigint []),
        CAST(:customer_ids AS bigint []),
        CAST(:automation_of AS integer []),
        CAST(:order_ids AS bigint []),
        CAST(:priorities AS integer []),
        CAST(:due_at AS timestamptz [])
    ) AS subject (key, customer_id, automation_id, order_id, priority, due_at)
INNER JOIN flows ON subject.automation_id = flows.automation_id
LEFT JOIN raw_shopify.customers
    ON customers.shop_id = :shop_id AND customers.customer_id = subject.customer_id
LEFT JOIN raw_shopify.orders
    ON orders.shop_id = :shop_id AND orders.order_id = subject.order_id
LEFT JOIN raw_shopify.refresh_requests AS requests
    ON
        requests.shop_id = :shop_id
        AND requests.object_type = 'Customer'
        AND requests.object_id = subject.customer_id
""")


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


@dataclass(frozen=True)
class Facts:
    """What is known about one subject at one instant. Instants are business time."""

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
