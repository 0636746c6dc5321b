"""The flows that come with the product, seeded switched off."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from activation.automation.definition import (
    Definition,
    FirstOrder,
    SendEmail,
    Wait,
    write_definition,
)
from core.models import Automation, AutomationVersion

WELCOME: Final = "welcome"


@dataclass(frozen=True)
class Preset:
    key: str
    name: str
    definition: Definition


PRESETS: Final = (
    Preset(
        key=WELCOME,
        name="Welcome",
        definition=Definition(
            trigger=FirstOrder(),
            steps=(
                Wait(step_key="delay", seconds=int(timedelta(hours=1).total_seconds())),
                SendEmail(step_key="welcome_email", template="welcome"),
            ),
            late_after_seconds=int(timedelta(days=3).total_seconds()),
        ),
    ),
)


def seed_presets(session: Session, shop_id: int, *, now: datetime) -> int:
    """Add the presets this shop does not have yet; returns how many. Existing ones stay."""
    return sum(_seed(session, shop_id, preset, now=now) for preset in PRESETS)


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
