"""What `ecomcrm attribution` shows, changes, keeps and refuses."""

import pytest
from sqlalchemy import select

from core.database import SessionFactory, session_scope
from core.errors import PermanentError
from core.models import AuditEntry
from core.models.enums import AuditAction
from core.settings import Settings
from ops.attribution_cli import set_windows, window_text, windows_of
from tests.fixtures.shopify import add_shop


@pytest.mark.requirement("AUTO-06")
def test_the_window_is_five_days_changed_for_one_shop_or_all_and_every_change_is_kept(
    session_factory: SessionFactory, settings: Settings
) -> None:
    with session_scope(session_factory) as session:
        for name in ("ash", "birch"):
            add_shop(session, settings, domain=f"{name}.myshopify.com")
    ash, birch = windows_of(session_factory, None)
    assert [ash["days"], birch["days"]] == [5, 5]
    assert set_windows(session_factory, "ash.myshopify.com", 1) == [ash | {"days": 1}]
    assert "within 1 day" in window_text(ash | {"days": 1})
    for days in (0, 31):
        with pytest.raises(PermanentError, match=f"1 to 30 days after a click, not {days}"):
            set_windows(session_factory, None, days)
    assert [each["days"] for each in windows_of(session_factory, None)] == [1, 5]
    set_windows(session_factory, None, 5)  # birch has it already: nothing to keep
    with session_scope(session_factory) as session:
        kept = session.scalars(
            select(AuditEntry.figures)
            .where(AuditEntry.action == AuditAction.CHANGE_ATTRIBUTION)
            .order_by(AuditEntry.audit_entry_id)
        ).all()
    assert kept == [{"before": 5, "after": 1}, {"before": 1, "after": 5}]
