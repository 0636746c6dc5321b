"""Declarative base: naming convention, common column types, enums stored by value."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from sqlalchemy import DateTime, Enum, Identity, Integer, MetaData, Numeric, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, mapped_column

RAW = "raw_shopify"
CRM = "crm"
STAGING = "raw_shopify_staging"  # tables of one load each, made and dropped by it

# Four decimals hold every ISO 4217 currency; 16 digits before them hold any shop's lifetime.
Money = Numeric(20, 4)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s__%(column_0_N_name)s",
            "uq": "uq_%(table_name)s__%(column_0_N_name)s",
            "ck": "ck_%(table_name)s__%(constraint_name)s",
            "fk": "fk_%(table_name)s__%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        str: Text,
        datetime: DateTime(timezone=True),
        Decimal: Money,
        dict[str, Any]: JSONB,
    }


def value_enum(enum: type[StrEnum], name: str) -> Enum:
    """Text with a check constraint, holding the member's value rather than its Python name."""
    return Enum(
        enum,
        name=name,
        native_enum=False,
        create_constraint=True,
        values_callable=lambda members: [member.value for member in members],
        length=40,
    )


shop_key = Annotated[int, mapped_column(Integer, primary_key=True)]
identity_key = Annotated[int, mapped_column(Identity(always=True), primary_key=True)]
created = Annotated[
    datetime, mapped_column(DateTime(timezone=True), server_default=text("clock_timestamp()"))
]
