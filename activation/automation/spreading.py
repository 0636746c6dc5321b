"""Those who are silent already when a flow is switched on: how many they are, and who comes when.

All at once would be a mail to half the shop. They come over days, the most recent silence first.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy.orm import Session

from activation.automation.entries import silent_entries
from activation.automation.readiness import read_shop
from activation.automation.switching import load_automations
from core.errors import PermanentError

LEAST_A_DAY: Final = 50
PERCENT_A_DAY: Final = 2  # of all of them

# The moment of each is their day of it, at the time of day at which it began: nobody is too late.
SPREAD: Final = """
    SELECT
        silent.customer_id,
        silent.entry_key,
        (
            CAST(:starts_at AS timestamptz) AT TIME ZONE CAST(:zone AS text)
            + make_interval(days => CAST(floor(silent.place / silent.a_day) AS integer))
        ) AT TIME ZONE CAST(:zone AS text) AS moment_at,
        silent.order_id,
        silent.checkout_key,
        silent.segment,
        silent.is_held_out,
        false AS is_too_late
    FROM (
        SELECT
            entries.*,
            row_number() OVER (ORDER BY entries.moment_at DESC, entries.customer_id) - 1 AS place,
            greatest(
                :least_a_day, ceil(count(*) OVER () * :percent_a_day / CAST(100 AS numeric))
            ) AS a_day
        FROM ({entries}) AS entries
    ) AS silent
"""


@dataclass(frozen=True)
class Silent:
    """How many would enter at a switch-on, at most how many a day, and over how many days."""

    people: int
    a_day: int
    days: int


def spread_parameters(zone: str, starts_at: datetime) -> dict[str, Any]:
    return {
        "zone": zone,
        "starts_at": starts_at,
        "least_a_day": LEAST_A_DAY,
        "percent_a_day": PERCENT_A_DAY,
    }


def count_silent(session: Session, shop_id: int, key: str, *, now: datetime) -> Silent:
    """Who would be included if the flow were switched on now. Changes nothing.

    Nobody for other triggers. Raises PermanentError when the shop has no such automation.
    """
    automations = load_automations(session, shop_id)
    automation = next((each for each in automations if each.key == key), None)
    if automation is None:
        raise PermanentError(f"This shop has no automation {key!r}.")
    shop = read_shop(session, shop_id)
    entries = silent_entries(automation, shop, shop_id=shop_id, until=now, now=now)
    if entries is None or shop.activated_at is None:
        return Silent(0, LEAST_A_DAY, 0)
    people: int = session.execute(
        entries.statement("SELECT count(*) FROM ({entries}) AS entries"), entries.parameters
    ).scalar_one()
    a_day = max(LEAST_A_DAY, -(-people * PERCENT_A_DAY // 100))
    return Silent(people, a_day, -(-people // a_day))
