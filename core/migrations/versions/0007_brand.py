"""What a shop's mails look like, and that nothing of it can break a header or an attribute.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

COLOR = "{} ~ '^#[0-9a-fA-F]{{6}}$'"
HTTPS = "{} ~ '^https://[^[:space:]\"<>]+$'"
HEADER = "{} !~ '[[:cntrl:]]'"
CHECKS = {
    "accent_color_is_a_color": COLOR.format("accent_color"),
    "background_color_is_a_color": COLOR.format("background_color"),
    "logo_url_is_https": HTTPS.format("logo_url"),
    "logo_dark_url_is_https": HTTPS.format("logo_dark_url"),
    "sender_name_fits_a_header": HEADER.format("sender_name"),
    "sender_address_fits_a_header": HEADER.format("sender_address"),
    "reply_to_fits_a_header": HEADER.format("reply_to"),
    "logo_width_fits": "logo_width BETWEEN 24 AND 320",
}
ADDED = ("background_color", "logo_url", "logo_dark_url", "logo_width", "mail_font")

# What was typed in before anything checked it; shops are few.
MEND = """
UPDATE crm.shops
SET
    accent_color = CASE
        WHEN accent_color ~ '^#[0-9a-fA-F]{6}$' THEN accent_color ELSE '#2f5d50'
    END,
    sender_name = btrim(regexp_replace(sender_name, '[[:cntrl:]]+', ' ', 'g')),
    sender_address = btrim(regexp_replace(sender_address, '[[:cntrl:]]+', '', 'g')),
    reply_to = btrim(regexp_replace(reply_to, '[[:cntrl:]]+', '', 'g'))
WHERE
    accent_color !~ '^#[0-9a-fA-F]{6}$'
    OR concat(sender_name, sender_address, reply_to) ~ '[[:cntrl:]]'
"""


def upgrade() -> None:
    for column in (
        sa.Column(
            "background_color", sa.Text(), server_default=sa.text("'#f4f2ee'"), nullable=False
        ),
        sa.Column("logo_url", sa.Text(), nullable=True),
        sa.Column("logo_dark_url", sa.Text(), nullable=True),
        sa.Column("logo_width", sa.Integer(), server_default=sa.text("140"), nullable=False),
        sa.Column(
            "mail_font",
            sa.Enum(
                "modern",
                "editorial",
                "classic",
                "plain",
                name="mail_font",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            server_default=sa.text("'modern'"),
            nullable=False,
        ),
    ):
        op.add_column("shops", column, schema="crm")
    op.execute(MEND)
    for name, rule in CHECKS.items():
        op.create_check_constraint(op.f(f"ck_shops__{name}"), "shops", rule, schema="crm")


def downgrade() -> None:
    for name in CHECKS:
        op.drop_constraint(op.f(f"ck_shops__{name}"), "shops", schema="crm", type_="check")
    for column in ADDED:
        op.drop_column("shops", column, schema="crm")
