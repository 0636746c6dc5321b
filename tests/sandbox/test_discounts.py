"""Discounts with codes as Shopify makes them: a discount at once, its codes by a job."""

from typing import Any

import pytest

from tests.sandbox.support import DOMAIN, Running, document

CREATE, ADD = document("discount_create"), document("discount_codes_add")
JOB, BY_CODE, BY_ID = (
    document("discount_codes_creation"),
    document("discount_by_code"),
    document("discount_by_id"),
)
ANN = {"id": "gid://shopify/Customer/1"}


def wanted(**changes: Any) -> dict[str, Any]:
    return {
        "title": "Ten off",
        "code": "FIRST",
        "startsAt": "2026-01-01T00:00:00+00:00",
        "endsAt": "2099-01-01T00:00:00+00:00",
        "usageLimit": 1,
        "context": {"all": "ALL"},
        "customerGets": {"value": {"percentage": 0.1}, "items": {"all": True}},
        **changes,
    }


def create(sandbox: Running, **changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = sandbox.data(CREATE, {"discount": wanted(**changes)})
    return dict(made["discountCodeBasicCreate"])


def add(sandbox: Running, discount: str, *codes: str) -> dict[str, Any]:
    asked = {"id": discount, "codes": [{"code": code} for code in codes]}
    return dict(sandbox.data(ADD, asked)["discountRedeemCodeBulkAdd"])


def job(sandbox: Running, id_: str) -> dict[str, Any]:
    return dict(sandbox.data(JOB, {"id": id_})["discountRedeemCodeBulkCreation"])


@pytest.mark.requirement("CFG-03")
def test_codes_are_made_by_a_job_that_says_of_each_whether_it_is_there(shop: Running) -> None:
    discount = create(shop)["codeDiscountNode"]["id"]
    shop.world.faults.set({"discount_taken_codes": 1})
    asked = add(shop, discount, "AAA", "first", "BBB")
    assert asked["bulkCreation"]["done"] is False
    number = asked["bulkCreation"]["id"]
    assert job(shop, number)["done"] is False, "one poll finds it running"
    done = job(shop, number)
    assert done["done"] is True
    told = {
        each["code"]: (
            each["discountRedeemCode"] is not None,
            [e["message"] for e in each["errors"]],
        )
        for each in done["codes"]["nodes"]
    }
    taken = ["must be unique. Please try a different code."]
    assert told == {"AAA": (False, taken), "first": (False, taken), "BBB": (True, [])}
    assert shop.data(BY_CODE, {"code": "bbb"})["codeDiscountNodeByCode"] == {"id": discount}
    assert shop.data(BY_CODE, {"code": "AAA"})["codeDiscountNodeByCode"] is None


@pytest.mark.requirement("CFG-03")
def test_what_shopify_refuses_of_discounts_is_refused(shop: Running) -> None:
    made = create(shop)
    assert made["userErrors"] == []
    for changes, code in (
        ({"code": "First"}, "TAKEN"),
        ({"code": "X", "endsAt": "2025-01-01T00:00:00Z"}, "END_DATE_BEFORE_START_DATE"),
        ({"code": "X", "customerGets": {"value": {"percentage": 10.0}}}, "VALUE_OUTSIDE_RANGE"),
    ):
        refused = create(shop, **changes)
        assert refused["codeDiscountNode"] is None
        assert [error["code"] for error in refused["userErrors"]] == [code]
    gone = add(shop, "gid://shopify/DiscountCodeNode/404", "X")
    assert "does not exist" in gone["userErrors"][0]["message"]
    many = {"id": made["codeDiscountNode"]["id"], "codes": [{"code": str(n)} for n in range(251)]}
    assert shop.ask(ADD, many)["errors"][0]["extensions"]["code"] == "MAX_INPUT_SIZE_EXCEEDED"
    shop.world.faults.set({"shopify_missing_scopes": "write_discounts"})
    denied = shop.ask(CREATE, {"discount": wanted(code="Y")})
    assert denied["errors"][0]["extensions"]["code"] == "ACCESS_DENIED"


@pytest.mark.requirement("CFG-03")
def test_an_order_uses_a_code_once_and_none_that_has_ended(shop: Running) -> None:
    create(shop, code="ONCE")
    create(shop, code="ENDED", endsAt="2026-01-02T00:00:00Z")
    shop.place(customer=ANN, discount_codes=["once", "SHOPKEEPERS-OWN"])
    for code, words in (("ONCE", "has been used"), ("ENDED", "has ended")):
        answer = shop.client.post(
            f"/_sandbox/shops/{DOMAIN}/orders", json={"customer": ANN, "discount_codes": [code]}
        )
        assert answer.status_code == 422
        assert words in answer.text
