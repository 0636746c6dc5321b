"""The flows that come with the product, seeded switched off."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from activation.automation.definition import (
    AbandonedCheckout,
    AddTag,
    Again,
    Definition,
    EnteredSegment,
    ExitOn,
    FirstOrder,
    Once,
    SendEmail,
    Silence,
    Wait,
    write_definition,
)
from activation.eligibility.flows import Priority
from core.models import Automation, AutomationVersion
from core.models.enums import Segment

WELCOME: Final = "welcome"
ABANDONED_CART: Final = "abandoned_cart"
REPURCHASE: Final = "repurchase"
WIN_BACK: Final = "win_back"
VIP: Final = "vip"


@dataclass(frozen=True)
class Preset:
    key: str
    name: str
    definition: Definition


HOLDOUT_PERCENT: Final = 5


def _seconds(**span: int) -> int:
    return int(timedelta(**span).total_seconds())


PRESETS: Final = (
    Preset(
        key=WELCOME,
        name="Welcome",
        definition=Definition(
            trigger=FirstOrder(),
            steps=(
                Wait(step_key="delay", seconds=_seconds(hours=1)),
                SendEmail(step_key="welcome_email", template="welcome"),
            ),
            late_after_seconds=_seconds(days=3),
            holdout_percent=HOLDOUT_PERCENT,
        ),
    ),
    Preset(
        key=ABANDONED_CART,
        name="Abandoned cart",
        definition=Definition(
            trigger=AbandonedCheckout(),
            steps=(
                Wait(step_key="delay", seconds=_seconds(hours=2)),
                SendEmail(step_key="abandoned_cart_email", template="abandoned_cart"),
            ),
            late_after_seconds=_seconds(hours=24),
            exit_on=(ExitOn.ORDERED,),
            reentry=Again(after_days=7),
            holdout_percent=HOLDOUT_PERCENT,
        ),
    ),
    Preset(
        key=REPURCHASE,
        name="Repurchase",
        definition=Definition(
            trigger=Silence(days=30, segments=(Segment.LOYAL, Segment.NEW)),
            steps=(SendEmail(step_key="repurchase_email", template="repurchase"),),
            late_after_seconds=_seconds(days=14),
            exit_on=(ExitOn.ORDERED, ExitOn.LEFT_SEGMENTS),
            reentry=Again(),
            holdout_percent=HOLDOUT_PERCENT,
            priority=Priority.REPURCHASE.value,
        ),
    ),
    Preset(
        key=WIN_BACK,
        name="Win-back",
        definition=Definition(
            trigger=Silence(days=90, segments=(Segment.AT_RISK, Segment.HIBERNATING)),
            steps=(SendEmail(step_key="win_back_email", template="win_back"),),
            late_after_seconds=_seconds(days=14),
            exit_on=(ExitOn.ORDERED, ExitOn.LEFT_SEGMENTS),
            reentry=Again(after_days=180),
            holdout_percent=HOLDOUT_PERCENT,
            priority=Priority.WIN_BACK.value,
        ),
    ),
    Preset(
        key=VIP,
        name="VIP",
        definition=Definition(
            trigger=EnteredSegment(segments=(Segment.CHAMPION,)),
            steps=(
                AddTag(step_key="vip_tag", tag="vip"),
                SendEmail(step_key="vip_email", template="vip"),
            ),
            late_after_seconds=_seconds(days=7),
            exit_on=(ExitOn.LEFT_SEGMENTS,),
            reentry=Once(),
            holdout_percent=HOLDOUT_PERCENT,
            priority=Priority.VIP.value,
        ),
    ),
)


def seed_presets(session: Session, shop_id: int, *, now: datetime) -> int:
    """Add the presets this shop does not have yet; returns how many. Existing ones stay.

    Also at the start of each activation run: a shop of an earlier release gets what is new.
    """
    known = set(session.scalars(select(Automation.key).where(Automation.shop_id == shop_id)))
    missing = [preset for preset in PRESETS if preset.key not in known]
    return sum(_seed(session, shop_id, preset, now=now) for preset in missing)


def _seed(session: Session, shop_id: int, preset: Preset, *, now: datetime) -> bool:
    automation_id = session.scalar(
        insert(Automation)
        .values(shop_id=shop_id, key=preset.key, name=preset.name, created_at=now)
        .on_conflict_do_nothing(index_elements=["shop_id", "key"])
        .returning(Automation.automation_id)
    )
    if automation_id is None:
        return False
    session.add(
        AutomationVersion(
            shop_id=shop_id,
            automation_id=automation_id,
            version=1,
            definition=write_definition(preset.definition),
            created_at=now,
        )
    )
    session.flush()
    return True
