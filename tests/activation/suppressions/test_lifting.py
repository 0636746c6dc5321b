"""Who may take an address off the list, and what is kept of it."""

import pytest
from sqlalchemy import select

from activation.suppressions.lifting import Lifted, lift
from core.database import session_scope
from core.errors import PermanentError
from core.models import AuditEntry, Message, ShopMember, User
from core.models.enums import AuditAction, MessageState, Role, SuppressionReason
from tests.activation.test_events import suppressions, tell
from tests.activation.world import World


def taken_off(
    world: World, *, reason: str = "They wrote to us.", user: int | None = None
) -> Lifted:
    return lift(
        world.factory,
        shop_id=world.shop_id,
        email=" C1@Example.com",
        reason=reason,
        now=world.now,
        secret_key=world.settings.secret_key,
        user_id=user,
    )


def member(world: World, role: Role) -> int:
    with session_scope(world.factory) as session:
        user = User(email=f"{role.value}@example.com", password_hash="x")
        session.add(user)
        session.flush()
        session.add(ShopMember(shop_id=world.shop_id, user_id=user.user_id, role=role))
        return user.user_id


@pytest.mark.requirement("EMAIL-03")
def test_only_the_owner_lifts_a_bounce_and_says_why(world: World) -> None:
    world.buyers([1])
    world.run_cleanly()
    tell(world, "email.bounced", {"bounce": {"type": "Permanent"}}, message=world.message())
    for role in (Role.ANALYST, Role.MARKETER):
        with pytest.raises(PermanentError):
            taken_off(world, user=member(world, role))
    with pytest.raises(PermanentError):
        taken_off(world, reason="  ")
    assert len(suppressions(world)) == 1
    owner = member(world, Role.OWNER)
    assert taken_off(world, user=owner) == Lifted((SuppressionReason.HARD_BOUNCE,), False)
    assert suppressions(world) == []
    with session_scope(world.factory) as session:
        entry = session.scalars(select(AuditEntry)).one()
        assert (entry.action, entry.user_id) == (AuditAction.LIFT_SUPPRESSION, owner)
        assert entry.reason == "They wrote to us."
        assert "c1@example.com" not in str([entry.about, entry.figures])
    with pytest.raises(PermanentError, match="not on the list"):
        taken_off(world)


@pytest.mark.requirement("EMAIL-03")
def test_the_same_bounce_told_again_does_not_undo_the_lifting_but_a_new_one_does(
    world: World,
) -> None:
    world.buyers([1])
    world.run_cleanly()
    first = world.message()
    tell(world, "email.bounced", {"bounce": {"type": "Permanent"}}, message=first)
    taken_off(world)
    tell(world, "email.suppressed", {}, message=first)
    assert suppressions(world) == []
    with session_scope(world.factory) as session:
        session.add(
            Message(
                shop_id=world.shop_id,
                dedupe_key="other",
                automation_id=first.automation_id,
                version=1,
                step_key="s",
                email="c1@example.com",
                state=MessageState.SENT,
                due_at=world.now,
                expires_at=world.now,
                queued_at=world.now,
            )
        )
    second = next(each for each in world.messages() if each.dedupe_key == "other")
    tell(world, "email.bounced", {"bounce": {"type": "Permanent"}}, message=second)
    assert suppressions(world) == [("c1@example.com", SuppressionReason.HARD_BOUNCE)]


@pytest.mark.requirement("EMAIL-01", "EMAIL-03")
def test_nobody_but_they_themselves_takes_an_unsubscribe_back(world: World) -> None:
    for reason in ("unsubscribed", "manual"):
        world.execute(
            "INSERT INTO crm.suppressions (shop_id, email_normalized, reason, suppressed_at)"
            " VALUES (:shop_id, 'c1@example.com', :reason, :now)",
            shop_id=world.shop_id,
            reason=reason,
            now=world.now,
        )
    assert taken_off(world) == Lifted((SuppressionReason.MANUAL,), True)
    with pytest.raises(PermanentError, match="unsubscribed"):
        taken_off(world)
    assert suppressions(world) == [("c1@example.com", SuppressionReason.UNSUBSCRIBED)]
