"""What shops had typed in before anything checked it survives migration 0007, made harmless."""

import pytest
from alembic import command
from sqlalchemy import Engine, text

from core.migrate import alembic_config
from tests.core.test_migrations import empty  # noqa: F401 - a fixture

SHOP = """
INSERT INTO crm.shops (
    domain, name, currency, time_zone, client_id, client_secret_encrypted, accent_color,
    sender_name, sender_address, reply_to, postal_address
) VALUES (
    :domain, 'X', 'EUR', 'UTC', 'id', '-', :color, :name, :address, :reply, :postal
)
"""
FINE = {
    "domain": "a.myshopify.com",
    "color": "#ABCDEF",
    "name": "Käse & Söhne",
    "address": "hello@x.example",
    "reply": None,
    "postal": "Street 1\nTown",
}
ODD = {
    "domain": "b.myshopify.com",
    "color": "green",
    "name": "Tea\r\nBcc: x@y.example",
    "address": "hello@x.example\n",
    "reply": "a@x.example\tb",
    "postal": "Street 1\r\nTown",
}


def migrate(engine: Engine, revision: str, *, down: bool = False) -> None:
    with engine.begin() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, revision)


@pytest.mark.requirement("EMAIL-06")
def test_what_was_typed_in_survives_and_is_harmless(empty: Engine) -> None:  # noqa: F811
    migrate(empty, "0006")
    with empty.begin() as connection:
        connection.execute(text(SHOP), [FINE, ODD])
    migrate(empty, "0007")
    read = """
    SELECT accent_color, sender_name, sender_address, reply_to, postal_address, mail_font
    FROM crm.shops ORDER BY domain
    """
    with empty.connect() as connection:
        fine, odd = connection.execute(text(read)).all()
    assert tuple(fine) == (
        "#ABCDEF",
        "Käse & Söhne",
        "hello@x.example",
        None,
        "Street 1\nTown",
        "modern",
    )
    assert tuple(odd) == (
        "#2f5d50",
        "Tea Bcc: x@y.example",
        "hello@x.example",
        "a@x.exampleb",
        "Street 1\r\nTown",
        "modern",
    )
    migrate(empty, "0006", down=True)
    with empty.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM crm.shops")) == 2
