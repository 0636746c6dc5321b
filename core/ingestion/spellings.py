"""How Shopify spells each type's lines: the selections of core/shopify/documents/fields, in order.

A test compares the keys with those documents, so that a field added there is not forgotten here:
every line would then take the slow way.
"""

from typing import Final

from core.ingestion.spelled import (
    ADDRESS,
    COUNT,
    CURRENCY,
    FLAG,
    FLAG_OR_NULL,
    INTEGER,
    MOMENT,
    MOMENT_OR_NULL,
    NO_LIST,
    TEXT,
    TEXT_OR_NULL,
    UNREAD_CURRENCY,
    WORD_OR_NULL,
    WORDS,
    Children,
    Spelling,
    bag,
    key_of,
    money,
    object_of,
    reference,
)

_MARKETING_STATE: Final = '"(SUBSCRIBED|NOT_SUBSCRIBED|PENDING|UNSUBSCRIBED|INVALID|REDACTED)"'

CUSTOMER: Final = Spelling(
    pattern=object_of(
        id=key_of("Customer"),
        firstName=TEXT_OR_NULL,
        lastName=TEXT_OR_NULL,
        locale=TEXT_OR_NULL,
        tags=WORDS,
        numberOfOrders=COUNT,
        amountSpent=money(),
        createdAt=MOMENT,
        updatedAt=MOMENT,
        defaultEmailAddress=object_of(
            emailAddress=ADDRESS,
            marketingState=_MARKETING_STATE,
            marketingOptInLevel=TEXT_OR_NULL,
            marketingUpdatedAt=MOMENT_OR_NULL,
            validFormat=FLAG_OR_NULL,
        ),
        defaultPhoneNumber=f"(?:{object_of(phoneNumber=TEXT_OR_NULL)}|null)",
    ),
    columns=(
        *("customer_id", "first_name", "last_name", "locale", "tags", "reported_order_count"),
        *("reported_total_spent", "created_at", "updated_at", "email", "consent_state"),
        *("consent_level", "consent_updated_at", "has_valid_email", "phone"),
    ),
)

REFUNDS: Final = Children(
    key="refunds",
    pattern=object_of(
        id=key_of("Refund"), processedAt=MOMENT, totalRefundedSet=bag(currency=CURRENCY)
    ),
    columns=("refund_id", "processed_at", "amount", "currency", "order_id"),
)

ORDER: Final = Spelling(
    pattern=object_of(
        id=key_of("Order"),
        name=TEXT,
        email=TEXT_OR_NULL,
        createdAt=MOMENT,
        updatedAt=MOMENT,
        processedAt=MOMENT,
        cancelledAt=MOMENT_OR_NULL,
        test=FLAG,
        displayFinancialStatus=WORD_OR_NULL,
        sourceName=TEXT_OR_NULL,
        checkoutToken=WORD_OR_NULL,
        discountCodes=WORDS,
        currencyCode=UNREAD_CURRENCY,
        currentTotalPriceSet=bag(currency=CURRENCY),
        totalPriceSet=bag(),
        totalRefundedSet=bag(),
        refunds=NO_LIST,
        customer=reference("Customer"),
    ),
    columns=(
        *("order_id", "name", "email", "created_at", "updated_at", "processed_at"),
        *("cancelled_at", "is_test", "financial_status", "source_name", "checkout_token"),
        *("discount_codes", "current_total", "currency", "original_total", "refunded_total"),
        "customer_id",
    ),
    children=REFUNDS,
)

LINE: Final = Spelling(
    pattern=object_of(
        id=key_of("LineItem"),
        title=TEXT,
        variantTitle=TEXT_OR_NULL,
        sku=TEXT_OR_NULL,
        quantity=INTEGER,
        currentQuantity=INTEGER,
        product=reference("Product"),
        originalUnitPriceSet=bag(currency=CURRENCY),
        __parentId=key_of("Order"),
    ),
    columns=(
        *("line_id", "title", "variant_title", "sku", "quantity", "current_quantity"),
        *("product_id", "unit_price", "currency", "order_id"),
    ),
)

PRODUCT: Final = Spelling(
    pattern=object_of(
        id=key_of("Product"),
        title=TEXT,
        handle=TEXT_OR_NULL,
        status=TEXT_OR_NULL,
        vendor=TEXT_OR_NULL,
        productType=TEXT_OR_NULL,
        createdAt=MOMENT,
        updatedAt=MOMENT,
        onlineStoreUrl=TEXT_OR_NULL,
        featuredMedia="(?:"
        + object_of(preview=object_of(image=object_of(url=TEXT)))
        + "|"
        + object_of(preview=object_of(image="null"))
        + "|null)",
    ),
    columns=(
        *("product_id", "title", "handle", "status", "vendor", "product_type"),
        *("created_at", "updated_at", "store_url", "image_url"),
    ),
)


def version_of(kind: str) -> Spelling:
    """A line of a comparison."""
    return Spelling(
        pattern=object_of(id=key_of(kind), updatedAt=MOMENT),
        columns=("object_id", "updated_at"),
    )
