import pytest

from core.shopify import gid


def test_a_gid_is_taken_apart_and_put_together() -> None:
    assert gid.parse("gid://shopify/Order/9007199254740993") == ("Order", 9007199254740993)
    assert gid.make("Order", 5) == "gid://shopify/Order/5"
    assert gid.number("gid://shopify/Order/5", "Order") == 5


@pytest.mark.parametrize(
    "text",
    [
        *("", "5", "gid://shopify/Order/", "gid://shopify/Order/x", "gid://shopify//5"),
        *("gid://other/Order/5", "gid://shopify/Order/-5", "gid://shopify/A/B/5"),
        *("gid://shopify/Order/0", f"gid://shopify/Order/{2**63}", "gid://shopify/Order/\u0665"),
        "gid://shopify/Ord\x00er/5",  # its type is quoted in reasons, which a NUL made unstorable
    ],
)
def test_what_is_no_gid_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a Shopify id"):
        gid.parse(text)


def test_a_gid_of_another_type_is_refused() -> None:
    with pytest.raises(ValueError, match="a Product where one of a Order"):
        gid.number("gid://shopify/Product/5", "Order")
