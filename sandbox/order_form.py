"""The form that places an order: its fields, and what is wrong with them in words."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from urllib.parse import parse_qsl

from sandbox.http import BadRequestError
from sandbox.resend.validation import ADDRESS
from sandbox.shopkeeper import Buyer, Purchase

CONSENTS = {
    "SUBSCRIBED": "Subscribed",
    "NOT_SUBSCRIBED": "Not subscribed",
    "PENDING": "Asked, not answered",
    "UNSUBSCRIBED": "Unsubscribed",
}
MAX_NAME = 50
MAX_ADDRESS = 254
MAX_FIELDS = 20
_NAMES = ("Ada", "Bruno", "Carla", "Edith", "Hugo", "Ida", "Jonas", "Lena", "Mira", "Oscar")
_AMOUNT = re.compile(r"[0-9]{1,7}(?:[.,][0-9]{1,2})?")


@dataclass(frozen=True, kw_only=True)
class OrderForm:
    """What stands in the fields; `errors` has a sentence for each field that is wrong."""

    first_name: str
    email: str
    consent: str = "SUBSCRIBED"
    total: str = "49.90"
    errors: Mapping[str, str] = field(default_factory=dict)

    def purchase(self) -> Purchase:
        """The order asked for, when there are no errors."""
        buyer = Buyer(email=self.email, first_name=self.first_name, consent=self.consent)
        return Purchase(customer=buyer, total=Decimal(self.total.replace(",", ".")))


def fresh_form() -> OrderForm:
    """A made-up customer with an address of their own, so that each submit is someone new."""
    name = secrets.choice(_NAMES)
    return OrderForm(first_name=name, email=f"{name.lower()}.{secrets.token_hex(3)}@example.com")


def read_fields(body: bytes) -> dict[str, str]:
    """The fields of a submitted form, trimmed. Raises BadRequestError for far too many."""
    text = body.decode(errors="replace")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise BadRequestError(f"the form cannot be read: {error}") from error
    return {name: value.strip() for name, value in pairs}


def checked_form(fields: Mapping[str, str]) -> OrderForm:
    """The form as it was filled in, with its errors."""
    names = ("first_name", "email", "consent", "total")
    given = {name: fields.get(name, "") for name in names}
    return OrderForm(**given, errors=_errors(**given))


def _errors(*, first_name: str, email: str, consent: str, total: str) -> dict[str, str]:
    errors = {}
    if not first_name.isprintable() or not 0 < len(first_name) <= MAX_NAME:
        errors["first_name"] = f"Write a first name of 1 to {MAX_NAME} letters."
    if len(email) > MAX_ADDRESS or not ADDRESS.fullmatch(email):
        errors["email"] = "This is not an address. Write one such as ada@example.com."
    if consent not in CONSENTS:
        errors["consent"] = "Choose one of the four."
    if not _AMOUNT.fullmatch(total):
        errors["total"] = "Write an amount such as 49.90, below ten million."
    return errors
