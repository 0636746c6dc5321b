"""What is asked of Shopify about discounts and their codes, and what its answers mean.

Shopify makes codes in a job of its own: it takes at most 250 at a time, and says of each whether it
exists once the job has run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from core.errors import PermanentError
from core.shopify.client import ShopifyClient
from core.shopify.documents import load

MOST_CODES: Final = 250
ALIVE: Final = frozenset({"ACTIVE", "SCHEDULED"})
GONE: Final = ("does not exist", "not found", "invalid id")
WORDS: Final = 200


class DiscountGoneError(PermanentError):
    """Somebody deleted or ended the discount at Shopify."""


@dataclass(frozen=True)
class Made:
    """What a job made, by code in capitals: None, or why there is no such code."""

    errors: Mapping[str, str | None]


def find_discount(client: ShopifyClient, first_code: str) -> str | None:
    """The discount that has this code: ours, made before a crash."""
    found = client.execute(load("discount_by_code"), {"code": first_code})
    node = found["codeDiscountNodeByCode"]
    return node and str(node["id"])


def create_discount(client: ShopifyClient, discount: Mapping[str, Any]) -> str:
    """Its id. Raises PermanentError with Shopify's words when it takes no such discount."""
    answer = client.execute(load("discount_create"), {"discount": dict(discount)})
    made = answer["discountCodeBasicCreate"]
    if made["codeDiscountNode"] is None or made["userErrors"]:
        raise PermanentError(f"Shopify refuses the discount: {_words(made['userErrors'])}")
    return str(made["codeDiscountNode"]["id"])


def is_alive(client: ShopifyClient, discount_id: str) -> bool:
    node = client.execute(load("discount_by_id"), {"id": discount_id})["codeDiscountNode"]
    return node is not None and node["codeDiscount"].get("status") in ALIVE


def add_codes(client: ShopifyClient, discount_id: str, codes: Sequence[str]) -> str:
    """The id of the job that makes them. Raises DiscountGoneError, or PermanentError with words."""
    variables = {"id": discount_id, "codes": [{"code": code} for code in codes]}
    answer = client.execute(load("discount_codes_add"), variables)["discountRedeemCodeBulkAdd"]
    if answer["bulkCreation"] is None or answer["userErrors"]:
        words = _words(answer["userErrors"])
        if any(part in words.lower() for part in GONE):
            raise DiscountGoneError(f"The discount is gone at Shopify: {words}")
        raise PermanentError(f"Shopify refuses the codes: {words}")
    return str(answer["bulkCreation"]["id"])


def read_made(client: ShopifyClient, job_id: str) -> Made | None:
    """What the job made; None while it runs. A job that Shopify does not know made nothing."""
    job = client.execute(load("discount_codes_creation"), {"id": job_id})
    job = job["discountRedeemCodeBulkCreation"]
    if job is None:
        return Made({})
    if not job["done"]:
        return None
    return Made(
        {str(each["code"]).upper(): _refusal(each) for each in job["codes"]["nodes"]},
    )


def _refusal(code: Mapping[str, Any]) -> str | None:
    if code["errors"] or code["discountRedeemCode"] is None:
        return _words(code["errors"])
    return None


def _words(errors: Sequence[Mapping[str, Any]]) -> str:
    return "; ".join(str(error["message"]) for error in errors)[:WORDS] or "without a reason"
