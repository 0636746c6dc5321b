"""What `ecomcrm mails` writes, shows and refuses."""

from pathlib import Path

import pytest

from activation.rendering.samples import BRAND, SAMPLES
from activation.rendering.templates import template_names
from core.database import SessionFactory, session_scope
from core.errors import PermanentError
from core.settings import Settings
from ops.mails_cli import brand_in, look, look_text, write_mails
from tests.fixtures.shopify import add_shop


@pytest.mark.requirement("EMAIL-06")
def test_every_mail_is_written_for_every_sample(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    names = write_mails(folder, BRAND)
    assert names == [f"{name}-{sample}" for name in template_names() for sample in SAMPLES]
    written = {path.name for path in folder.iterdir()}
    assert written == {"index.html", *(f"{n}.{end}" for n in names for end in ("html", "txt"))}
    assert "Subject: Anna, welcome to Nordlicht" in (folder / "welcome-usual.txt").read_text()
    assert "COMEBACK10" in (folder / "win_back-usual.html").read_text()
    assert all(f'href="{name}.html"' in (folder / "index.html").read_text() for name in names)


@pytest.mark.requirement("EMAIL-06")
def test_a_shops_look_is_shown_and_changed(
    session_factory: SessionFactory, settings: Settings
) -> None:
    with session_scope(session_factory) as session:
        for name in ("ash", "birch"):
            add_shop(session, settings, domain=f"{name}.myshopify.com")
    [before] = look(session_factory, "ash.myshopify.com", {})
    [after] = look(
        session_factory,
        "ash.myshopify.com",
        {"accent_color": "#B4532A", "postal_address": "Street 1\nTown"},
    )
    assert after == before | {"accent_color": "#b4532a", "postal_address": "Street 1\nTown"}
    assert "postal address    Street 1, Town" in look_text(after)
    assert brand_in(session_factory, "ash.myshopify.com").accent == "#b4532a"
    with pytest.raises(PermanentError, match="Say which shop"):
        look(session_factory, None, {"accent_color": "#000000"})
    with pytest.raises(PermanentError, match="The accent is a colour"):
        look(session_factory, "birch.myshopify.com", {"accent_color": "red"})
    assert len(look(session_factory, None, {})) == 2
