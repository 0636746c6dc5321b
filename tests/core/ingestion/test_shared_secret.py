"""Two shops of one app share its secret, and most bodies do not say whose they are."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from core.database import SessionFactory, session_scope
from core.ingestion.inbox import Received
from core.models.enums import InboxState
from core.secrets import SecretBox
from core.settings import Settings
from tests.core.ingestion.conftest import Post, Rows
from tests.core.ingestion.test_webhook_topics import checkout, consent, merge
from tests.fixtures.shopify import DOMAIN, SHOP_NUMBER, add_shop, customer_body, order_body

OTHER = "other.myshopify.com"
REQUESTS = "SELECT shop_id, object_type, object_id FROM raw_shopify.refresh_requests ORDER BY 2, 3"
HELD = ("customers", "orders", "checkouts", "customer_merges", "deleted_objects")


@pytest.fixture
def sister(session_factory: SessionFactory, settings: Settings, post: Post) -> None:
    """A second shop with the same client secret; `post` has connected the first."""
    with session_scope(session_factory) as session:
        add_shop(session, settings, domain=OTHER, shopify_id=SHOP_NUMBER + 1)


@pytest.mark.requirement("SHOP-04")
@pytest.mark.usefixtures("sister")
@pytest.mark.parametrize(
    ("body", "topic", "asked"),
    [
        (order_body(11, 5, order_status_url=None), "orders/create", ("Order", 11)),
        ({"id": 11}, "orders/delete", ("Order", 11)),
        (customer_body(5), "customers/update", ("Customer", 5)),
        ({"id": 5}, "customers/delete", ("Customer", 5)),
        (
            consent(5, "subscribed", "2026-11-20T10:00:00Z"),
            "customers_email_marketing_consent/update",
            ("Customer", 5),
        ),
    ],
)
def test_a_body_that_names_no_shop_is_only_a_hint(
    post: Post, rows: Rows, body: dict[str, Any], topic: str, asked: tuple[str, int]
) -> None:
    assert post(body, topic) == Received(200, InboxState.APPLIED)
    assert rows(REQUESTS) == [(1, *asked)]
    for table in HELD:
        assert rows(f"SELECT 1 FROM raw_shopify.{table}") == []


@pytest.mark.usefixtures("sister")
def test_a_merge_of_perhaps_another_shop_only_has_both_customers_read(
    post: Post, rows: Rows
) -> None:
    post(merge(5, 6), "customers/merge")
    assert rows(REQUESTS) == [(1, "Customer", 5), (1, "Customer", 6)]
    assert rows("SELECT 1 FROM raw_shopify.customer_merges") == []


@pytest.mark.requirement("SHOP-04")
@pytest.mark.usefixtures("sister")
def test_a_body_that_names_its_shop_is_believed_there_and_refused_elsewhere(
    post: Post, rows: Rows
) -> None:
    url = f"https://tea.example/{SHOP_NUMBER}/orders/a/authenticate"
    told = [
        (order_body(11, 5, order_status_url=url), "orders/create"),
        (checkout("t1", 5, "2026-11-20T10:00:00Z"), "checkouts/create"),
        ({"id": SHOP_NUMBER, "myshopify_domain": DOMAIN}, "app/uninstalled"),
    ]
    for body, topic in told:
        assert post(body, topic) == Received(200, InboxState.APPLIED)
        assert post(body, topic, domain=OTHER) == Received(200, InboxState.FAILED)
    assert rows("SELECT shop_id FROM raw_shopify.orders") == [(1,)]
    assert rows("SELECT shop_id FROM raw_shopify.checkouts") == [(1,)]
    assert rows("SELECT uninstalled_at IS NULL FROM crm.shops ORDER BY shop_id") == [
        (False,),
        (True,),
    ]


@pytest.mark.usefixtures("sister")
def test_the_law_is_not_invoked_for_a_shop_that_the_body_does_not_name(
    post: Post, rows: Rows
) -> None:
    assert post({"customer": {"id": 5}}, "customers/redact") == Received(200, InboxState.FAILED)
    assert rows("SELECT 1 FROM crm.privacy_requests") == []


@pytest.mark.requirement("SHOP-04")
@pytest.mark.parametrize(
    ("until", "status"),
    [(timedelta(minutes=5), 200), (timedelta(minutes=-5), 401), (None, 401)],
)
def test_the_former_secret_signs_until_its_time_is_over(
    *,
    post: Post,
    session_factory: SessionFactory,
    settings: Settings,
    until: timedelta | None,
    status: int,
) -> None:
    with session_scope(session_factory) as session:
        session.execute(
            text(
                "UPDATE crm.shops SET previous_client_secret_encrypted = :secret,"
                " previous_client_secret_until = :until"
            ),
            {
                "secret": SecretBox(settings.secret_key).encrypt("the old one"),
                "until": datetime.now(UTC) + until if until else None,
            },
        )
    assert post(order_body(11, 5), secret="the old one").status == status
