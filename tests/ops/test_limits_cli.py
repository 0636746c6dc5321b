"""What `ecomcrm limits` reads, shows and refuses."""

from datetime import time

import pytest

from core.database import SessionFactory, session_scope
from core.errors import PermanentError
from core.settings import Settings
from ops.limits_cli import changes_from, limits_of, limits_text, set_limits
from tests.fixtures.shopify import add_shop

pytestmark = pytest.mark.requirement("EMAIL-02")


@pytest.fixture
def factory(session_factory: SessionFactory, settings: Settings) -> SessionFactory:
    with session_scope(session_factory) as session:
        for name in ("ash", "birch"):
            add_shop(session, settings, domain=f"{name}.myshopify.com")
    return session_factory


def test_limits_are_shown_changed_for_one_shop_or_all_and_switched_off(
    factory: SessionFactory,
) -> None:
    ash, birch = limits_of(factory, None)
    assert ash["short_cap"] == {"mails": 1, "hours": 20}
    assert ash["long_cap"] == {"mails": 4, "days": 7}
    assert ash["quiet_hours"] == "21:00-08:00"
    wanted = changes_from(short_cap="off", long_cap="2/14", quiet_hours="22:30-07:00")
    [changed] = set_limits(factory, "ash.myshopify.com", wanted)
    assert limits_of(factory, None) == [changed, birch]
    assert changed["short_cap"] is None
    text = limits_text(changed)
    assert "short cap    off" in text
    assert "2 in 14 days" in text
    assert "22:30-07:00" in text
    both = set_limits(factory, None, changes_from(quiet_hours="off", time_zone="Asia/Tokyo"))
    assert [(each["quiet_hours"], each["time_zone"]) for each in both] == [(None, "Asia/Tokyo")] * 2
    [back, _] = set_limits(factory, None, changes_from(time_zone="shop"))
    assert back["time_zone"] == ash["time_zone"]


def test_limits_that_make_no_sense_change_no_shop(factory: SessionFactory) -> None:
    before = limits_of(factory, None)
    with pytest.raises(PermanentError, match="between 1 and 1000"):
        set_limits(factory, None, changes_from(short_cap="0/20"))
    assert limits_of(factory, None) == before
    with pytest.raises(PermanentError, match=r"No shop elm\.myshopify\.com"):
        set_limits(factory, "elm.myshopify.com", changes_from(quiet_hours="off"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "Say what to change"),
        ({"short_cap": "1 per 20"}, "write mails/hours, or off"),
        ({"long_cap": "4"}, "write mails/days, or off"),
        ({"quiet_hours": "21-8"}, "write them as 21:00-08:00"),
        ({"quiet_hours": "25:00-08:00"}, "write them as 21:00-08:00"),
    ],
)
def test_what_cannot_be_read_says_how_to_write_it(options: dict[str, str], words: str) -> None:
    with pytest.raises(PermanentError, match=words):
        changes_from(**options)


def test_hours_of_one_digit_are_hours() -> None:
    assert changes_from(quiet_hours="9:30-17:00") == {
        "quiet_from": time(9, 30),
        "quiet_until": time(17),
    }
