"""Letters of one batch from real rows: what is read, how often, and what must be the same again."""

import re
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest
from sqlalchemy import event, select

from activation.automation.definition import (
    Definition,
    FirstOrder,
    SendEmail,
    read_definition,
    write_definition,
)
from activation.rendering.checks import MailError
from activation.rendering.content import MailContent
from activation.rendering.facts import MAX_ITEMS, amount, image_url
from activation.rendering.letters import compose, read_material
from core.database import session_scope
from core.models import (
    AutomationVersion,
    Checkout,
    Enrollment,
    Message,
    OrderLine,
    Product,
)
from core.models.enums import EnrollmentState, MessageState
from tests.activation.world import World

IMAGE = "https://cdn.shopify.com/s/files/1/becher.jpg?v=17"
STORE = "https://nordlicht.example/products/becher"


@dataclass(frozen=True)
class Owed:
    message_id: int
    automation_id: int
    version: int
    step_key: str
    customer_id: int | None
    order_id: int | None


def add_product(world: World, product_id: int, **columns: Any) -> None:
    with session_scope(world.factory) as session:
        session.add(
            Product(
                **{
                    "shop_id": world.shop_id,
                    "product_id": product_id,
                    "title": "Becher",
                    "image_url": IMAGE,
                    "store_url": STORE,
                    "created_at": world.now,
                    "updated_at": world.now,
                    **columns,
                }
            )
        )


def owe(
    world: World,
    *,
    template: str,
    entry_key: str = "first",
    order_id: int | None = None,
    **words: Any,
) -> Owed:
    """A message of a new version of the welcome automation that sends this template."""
    with session_scope(world.factory) as session:
        [latest] = session.scalars(
            select(AutomationVersion)
            .where(AutomationVersion.shop_id == world.shop_id)
            .order_by(AutomationVersion.version.desc())
            .limit(1)
        )
        step = SendEmail(step_key="mail", template=template, content=MailContent(**words))
        definition = Definition(trigger=FirstOrder(), steps=(step,), late_after_seconds=1)
        version = AutomationVersion(
            shop_id=world.shop_id,
            automation_id=latest.automation_id,
            version=latest.version + 1,
            definition=write_definition(definition),
        )
        session.add(version)
        session.flush()
        enrollment = Enrollment(
            shop_id=world.shop_id,
            automation_id=version.automation_id,
            version=version.version,
            customer_id=7,
            entry_key=entry_key,
            moment_at=world.now,
            order_id=order_id,
            state=EnrollmentState.ACTIVE,
            enrolled_at=world.now,
        )
        session.add(enrollment)
        session.flush()
        message = Message(
            shop_id=world.shop_id,
            dedupe_key=f"{template}/{entry_key}",
            automation_id=version.automation_id,
            version=version.version,
            step_key="mail",
            enrollment_id=enrollment.enrollment_id,
            customer_id=7,
            state=MessageState.QUEUED,
            due_at=world.now,
            expires_at=world.now + timedelta(days=1),
            queued_at=world.now,
        )
        session.add(message)
        session.flush()
        return Owed(message.message_id, version.automation_id, version.version, "mail", 7, order_id)


def letters(world: World, *owed: Owed) -> list[dict[str, Any]]:
    with session_scope(world.factory) as session:
        material = read_material(session, world.shop_id, owed, settings=world.settings)
        requests = [compose(material, each, "c7@example.com")[1] for each in owed]
        again = [compose(material, each, "c7@example.com")[1] for each in owed]
    assert orjson.dumps(requests) == orjson.dumps(again)
    return [dict(request) for request in requests]


@pytest.mark.requirement("FLOW-01", "EMAIL-06")
def test_an_orders_lines_come_with_pictures_and_links(world: World) -> None:
    world.add_customer(7, first_name="Anna")
    order_id = world.place_order(7)
    add_product(world, 1)
    with session_scope(world.factory) as session:
        for line in session.scalars(select(OrderLine)):
            line.product_id = 1
        session.add_all(
            OrderLine(
                shop_id=world.shop_id,
                line_id=90_000 + number,
                order_id=order_id,
                title=f"Teller {number}",
                quantity=1,
                current_quantity=0 if number == 1 else 1,  # sent back
                unit_price=Decimal(10),
                currency="CHF",
            )
            for number in range(10)
        )
    world.set_shop(tracks_clicks=False)
    [request] = letters(world, owe(world, template="welcome", order_id=order_id))
    assert request["subject"] == "Anna, welcome to Nordlicht Keramik"
    assert "2 x Becher Fjord (Blau), €49.90" in request["text"]
    assert "1 x Teller 0, 10.00 CHF" in request["text"]
    assert "Teller 1," not in request["text"]
    assert request["text"].count(" x ") == MAX_ITEMS
    assert "and 2 more" in request["text"]
    assert f'src="{IMAGE}&amp;width=144"' in request["html"]
    assert request["html"].count(f'href="{STORE}"') == 2
    assert 'class="tile"' in request["html"]  # the plates have no picture
    assert request["reply_to"] == "shop@example.com"
    assert request["from"] == "Nordlicht Keramik <hello@mail.example.com>"


@pytest.mark.requirement("FLOW-02", "EMAIL-06")
def test_a_carts_lines_come_from_the_checkout_that_the_entry_key_names(world: World) -> None:
    world.add_customer(7)
    add_product(world, 1, image_url="http://insecure.example/x.jpg", store_url=None)
    with session_scope(world.factory) as session:
        for key, token in (("abc", None), ("other", "t0k3n")):
            session.add(
                Checkout(
                    shop_id=world.shop_id,
                    checkout_key=key,
                    token=token,
                    recovery_url=f"https://nordlicht.example/checkouts/ac/{key}/recover?key=1&a=2",
                    created_at=world.now,
                    updated_at=world.now,
                    currency="EUR",
                    total=Decimal("73.95"),
                    subtotal=Decimal("68.00"),
                    line_items=[
                        {
                            "title": f"Vase {key}",
                            "variant_title": "Default Title",
                            "sku": None,
                            "product_id": 1,
                            "quantity": 2,
                            "unit_price": "34.00",
                        },
                        {
                            "title": "Gift",
                            "variant_title": None,
                            "sku": None,
                            "product_id": None,
                            "quantity": 1,
                            "unit_price": None,
                        },
                    ],
                )
            )
    world.set_shop(tracks_clicks=False)
    by_key = owe(world, template="abandoned_cart", entry_key="abc")
    by_token = owe(world, template="abandoned_cart", entry_key="t0k3n")
    gone = owe(world, template="abandoned_cart", entry_key="nowhere")
    first, second, third = letters(world, by_key, by_token, gone)
    assert first["subject"] == "Still thinking about Vase abc?"
    assert "  2 x Vase abc, €68.00\n  1 x Gift\n" in first["text"]
    assert "Subtotal €68.00" in first["text"]
    assert "checkouts/ac/abc/recover?key=1&a=2" in first["text"]
    assert "<img" not in first["html"]
    assert "Vase other" in second["text"]
    assert "Vase" not in third["text"]
    assert "Go back to your cart: https://shop-" in third["text"]


@pytest.mark.requirement("EMAIL-05", "EMAIL-06")
def test_links_count_for_the_message_they_came_with_but_for_those_to_unsubscribe(
    world: World,
) -> None:
    world.add_customer(7)
    owed = owe(world, template="vip", body='<p><a href="https://nordlicht.example/new">New</a></p>')
    [request] = letters(world, owed)
    links = set(re.findall(r'href="([^"]*)"', request["html"]))
    public = world.settings.public_url
    counted = {link for link in links if link.startswith(f"{public}/c/")}
    assert len(counted) == 3  # the shop, the new things, and the trap
    rest = links - counted
    assert all(link.startswith(f"{public}/unsubscribe/") for link in rest)
    assert request["headers"]["List-Unsubscribe"].strip("<>") in rest
    assert "https://nordlicht.example/new" in request["text"]


@pytest.mark.requirement("EMAIL-06")
def test_a_batch_is_read_in_a_handful_of_queries_whatever_its_size(world: World) -> None:
    world.add_customer(7)
    orders = [world.place_order(7) for _ in range(3)]
    few = [owe(world, template="vip", entry_key="one", order_id=orders[0])]
    many = [
        *few,
        *(
            owe(world, template=template, entry_key=f"{template}{n}", order_id=order)
            for n, order in enumerate(orders)
            for template in ("welcome", "abandoned_cart")
        ),
    ]
    with session_scope(world.factory) as session:
        said: list[str] = []
        event.listen(session.connection(), "before_cursor_execute", lambda *a: said.append(a[2]))
        read_material(session, world.shop_id, few, settings=world.settings)
        for_few = len(said)
        session.expire_all()
        read_material(session, world.shop_id, many, settings=world.settings)
    assert for_few <= 4
    assert len(said) - for_few <= 5


@pytest.mark.requirement("EMAIL-06")
def test_words_that_came_past_the_check_cost_their_mail_alone_and_say_why(world: World) -> None:
    """Whoever writes a definition by hand gets the same answer as in the form, only later."""
    world.add_customer(7)
    owed = owe(world, template="vip", entry_key="bad", headline="{{ customer.shoe_size }}")
    good = owe(world, template="vip", entry_key="good")
    with session_scope(world.factory) as session:
        material = read_material(session, world.shop_id, [owed, good], settings=world.settings)
        with pytest.raises(MailError, match=r"Headline: \{\{ customer.shoe_size \}\} is not known"):
            compose(material, owed, "c7@example.com")
        assert compose(material, good, "c7@example.com")[0].subject


def test_a_shop_without_a_sender_sends_nothing_and_says_so(world: World) -> None:
    world.add_customer(7)
    world.set_shop(sender_address=None)
    owed = owe(world, template="vip")
    with session_scope(world.factory) as session:
        material = read_material(session, world.shop_id, [owed], settings=world.settings)
        with pytest.raises(MailError, match="no address to send from"):
            compose(material, owed, "c7@example.com")


@pytest.mark.requirement("CFG-04")
def test_a_step_keeps_a_merchants_words_and_only_those() -> None:
    step = SendEmail(
        step_key="mail", template="vip", content=MailContent(subject="Hi", headline="")
    )
    definition = Definition(trigger=FirstOrder(), steps=(step,), late_after_seconds=1)
    stored = write_definition(definition)
    assert stored["steps"][0]["content"] == {"subject": "Hi", "headline": ""}
    assert read_definition(stored) == definition


def test_a_version_that_was_stored_before_there_was_content_is_still_read() -> None:
    """Versions never change, so those of the first release hold a subject beside the template."""
    for subject in (None, "Hi"):
        old = {"type": "send_email", "step_key": "mail", "template": "vip", "subject": subject}
        stored = {"trigger": {"type": "first_order"}, "steps": [old], "late_after_seconds": 1}
        [step] = read_definition(stored).steps
        assert isinstance(step, SendEmail)
        assert step.words == MailContent(subject=subject)


@pytest.mark.parametrize(
    ("value", "currency", "words"),
    [
        ("1234.5", "EUR", "€1,234.50"),
        ("0", "USD", "$0.00"),
        ("1234.4", "JPY", "¥1,234"),
        ("1234.5", "CHF", "1,234.50 CHF"),
        ("9.99", "CAD", "9.99 CAD"),
    ],
)
def test_amounts_read_as_people_write_them(value: str, currency: str, words: str) -> None:
    assert amount(Decimal(value), currency) == words


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (None, ""),
        ("http://cdn.shopify.com/a.jpg", ""),
        ("https://cdn.shopify.com/a.jpg", "https://cdn.shopify.com/a.jpg?width=144"),
        ("https://elsewhere.example/a.jpg", "https://elsewhere.example/a.jpg"),
        ('https://cdn.shopify.com/a"b.jpg', ""),
    ],
)
def test_pictures_are_small_and_https(url: str | None, shown: str) -> None:
    assert image_url(url) == shown
