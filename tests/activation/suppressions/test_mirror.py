"""Our list and the provider's, against the sandbox's Resend behaviour in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import cast

import pytest
from sqlalchemy import select

from activation.outbox.pacing import Pace
from activation.provider.resend_account import ResendAccount, Suppressed, SuppressedPage
from activation.suppressions.adding import Entry, add
from activation.suppressions.lifting import lift
from activation.suppressions.mirror import Mirror, Mirrored, run_mirror
from core.database import session_scope
from core.errors import TransientError
from core.models import Suppression, SuppressionMirror
from core.models.enums import SuppressionReason, SuppressionSource
from tests.activation.test_events import suppressions, tell
from tests.activation.world import World


@dataclass
class FakeAccount:
    """A list that pages two at a time and fails when told to."""

    listed: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    fails_at: int = 0
    calls: list[str] = field(default_factory=list)

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.fails_at == len(self.calls):
            raise TransientError("503")

    def list_suppressed(self, *, after: str | None = None) -> SuppressedPage:
        self._call("list")
        emails = sorted(self.listed)
        start = emails.index(after) + 1 if after else 0
        page = emails[start : start + 2]
        lines = tuple(Suppressed(each, *self.listed[each]) for each in page)
        return SuppressedPage(lines, page[-1] if len(emails) > start + 2 else None)

    def suppress(self, emails: Sequence[str]) -> None:
        self._call("suppress")
        self.listed |= {each: ("manual", datetime.now().astimezone()) for each in emails}

    def unsuppress(self, emails: Sequence[str]) -> None:
        self._call("unsuppress")
        for each in emails:
            self.listed.pop(each, None)


def mirrored(world: World, account: FakeAccount) -> Mirrored:
    return run_mirror(
        Mirror(
            world.factory,
            cast("ResendAccount", account),
            Pace("resend/test", 1000),
            world.shop_id,
            world.clock,
            sleep=world.naps.append,
        )
    )


def put(world: World, email: str, *, shop_id: int = 0, reason: str = "manual") -> None:
    with session_scope(world.factory) as session:
        entry = Entry(shop_id or world.shop_id, email, SuppressionReason(reason), world.now)
        add(session, [entry], source=SuppressionSource.PERSON)


@pytest.mark.requirement("EMAIL-03")
def test_what_the_provider_has_of_our_customers_is_taken_over_page_by_page(world: World) -> None:
    world.add_customers([1, 2, 3])
    other = world.add_shop()
    world.add_customers([3], shop_id=other)
    ago = world.now - timedelta(days=3)
    account = FakeAccount(
        {
            "c1@example.com": ("bounce", ago),
            "c2@example.com": ("complaint", ago),
            "c3@example.com": ("manual", ago),
            "nobody@example.com": ("bounce", ago),
        },
        fails_at=2,
    )
    with pytest.raises(TransientError):
        mirrored(world, account)
    with session_scope(world.factory) as session:
        state = session.scalars(select(SuppressionMirror)).one()
        assert (state.after, state.entry_count, state.error) == ("c2@example.com", 2, "503")
    done = mirrored(world, account)
    assert (done.read, done.taken_over, done.finished) == (2, 2, True)
    assert sorted(suppressions(world)) == [
        ("c1@example.com", SuppressionReason.HARD_BOUNCE),
        ("c2@example.com", SuppressionReason.COMPLAINT),
        ("c3@example.com", SuppressionReason.MANUAL),
        ("c3@example.com", SuppressionReason.MANUAL),  # of the other shop
    ]
    again = mirrored(world, account)
    assert again.read == 4
    assert len(suppressions(world)) == 4


@pytest.mark.requirement("EMAIL-03")
def test_what_people_put_on_is_told_unless_another_shop_may_still_write_there(
    world: World,
) -> None:
    other = world.add_shop()
    world.add_customers([2], shop_id=other)
    for number in (1, 2):
        put(world, f"c{number}@example.com")
    put(world, "c4@example.com", reason="unsubscribed")
    account = FakeAccount()
    assert mirrored(world, account).put_on == 1
    assert set(account.listed) == {"c1@example.com"}
    assert mirrored(world, account).put_on == 0
    put(world, "c2@example.com", shop_id=other)
    assert mirrored(world, account).put_on == 1
    assert set(account.listed) == {"c1@example.com", "c2@example.com"}


@pytest.mark.requirement("EMAIL-03")
def test_what_was_lifted_is_taken_off_there_and_does_not_come_back(world: World) -> None:
    world.buyers([1])
    world.run_cleanly()
    tell(world, "email.bounced", {"bounce": {"type": "Permanent"}}, message=world.message())
    account = FakeAccount({"c1@example.com": ("bounce", world.now)})
    world.clock.advance(timedelta(hours=1))
    lift(
        world.factory,
        shop_id=world.shop_id,
        email="c1@example.com",
        reason="It works again.",
        now=world.now,
        secret_key=world.settings.secret_key,
    )
    account.fails_at = 1
    with pytest.raises(TransientError):
        mirrored(world, account)
    assert mirrored(world, account).taken_off == 1
    assert account.listed == {}
    assert suppressions(world) == []


@pytest.mark.requirement("EMAIL-03", "AUTO-06")
def test_events_about_the_list_say_the_same(world: World) -> None:
    world.add_customers([1, 2])
    data = {"origin": "bounce", "created_at": "2026-11-20T12:00:00.000Z", "tags": None}
    tell(world, "suppression.added", {**data, "email": "C1@example.com"})
    tell(world, "suppression.added", {**data, "email": "c2@example.com", "origin": "manual"})
    tell(world, "suppression.added", {**data, "email": "nobody@example.com"})
    assert len(suppressions(world)) == 2
    for number in (1, 2):
        tell(world, "suppression.removed", {**data, "email": f"c{number}@example.com"})
    assert suppressions(world) == [("c1@example.com", SuppressionReason.HARD_BOUNCE)]
    with session_scope(world.factory) as session:
        assert {row.source for row in session.scalars(select(Suppression))} == {
            SuppressionSource.PROVIDER
        }
