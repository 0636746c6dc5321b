from datetime import timedelta

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from activation.unsubscribe import token_for
from core.clock import MovableClock
from core.database import SessionFactory, session_scope
from core.models import (
    Automation,
    ConsentEvent,
    Customer,
    Message,
    OptOut,
    Shop,
    Suppression,
)
from core.models.enums import (
    ConsentSource,
    ConsentStanding,
    ConsentState,
    LeavingReason,
    MessageState,
    SkipReason,
)
from core.settings import Settings
from tests.webapp.conftest import HTML

ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.fixture
def link(
    session_factory: SessionFactory, settings: Settings, shop: Shop, clock: MovableClock
) -> str:
    """The address in the List-Unsubscribe header of a mail to Grace@Example.com."""
    with session_scope(session_factory) as session:
        flows = [
            Automation(shop_id=shop.shop_id, key=key, name=name, is_active=is_active)
            for key, name, is_active in (
                ("welcome", "Welcome", True),
                ("vip", "VIP", True),
                ("glaze", "New glazes", True),
                ("win_back", "Win-back", False),
            )
        ]
        session.add_all(flows)
        session.add(
            Customer(
                shop_id=shop.shop_id,
                customer_id=1,
                email="Grace@Example.com",
                consent_state=ConsentState.SUBSCRIBED,
                consent_updated_at=clock.now() - timedelta(days=9),
                created_at=clock.now(),
                updated_at=clock.now(),
            )
        )
        session.flush()
        message = Message(
            shop_id=shop.shop_id,
            dedupe_key="welcome/mail/1/first",
            automation_id=flows[0].automation_id,
            version=1,
            step_key="mail",
            customer_id=1,
            email="Grace@Example.com",
            state=MessageState.DELIVERED,
            due_at=clock.now(),
            expires_at=clock.now() + timedelta(days=3),
            queued_at=clock.now(),
        )
        session.add(message)
        session.flush()
        token = token_for(settings, shop_id=shop.shop_id, message_id=message.message_id)
    return f"/unsubscribe/{token}"


def suppressed(factory: SessionFactory) -> list[str]:
    with session_scope(factory) as session:
        return list(
            session.scalars(
                select(Suppression.email_normalized).where(Suppression.lifted_at.is_(None))
            )
        )


@pytest.mark.requirement("EMAIL-01", "EMAIL-05")
@pytest.mark.parametrize(
    "encoding",
    [
        {"data": ONE_CLICK},
        {"files": {"List-Unsubscribe": (None, "One-Click")}},
        {"content": b""},
        {"content": b"\xff not a form", "headers": {"content-type": "multipart/form-data"}},
    ],
    ids=["urlencoded", "multipart", "empty", "broken"],
)
def test_a_mail_client_unsubscribes_with_one_post(
    client: TestClient, link: str, session_factory: SessionFactory, encoding: dict[str, object]
) -> None:
    response = client.post(link, **encoding)  # type: ignore[arg-type]  # one case per encoding
    assert (response.status_code, response.content) == (200, b"")
    assert "set-cookie" not in response.headers
    assert suppressed(session_factory) == ["grace@example.com"]


@pytest.mark.requirement("EMAIL-05")
def test_opening_the_link_changes_nothing(
    client: TestClient, link: str, session_factory: SessionFactory
) -> None:
    page = client.get(link, headers=HTML)
    assert page.status_code == 200
    assert client.head(link).status_code == 200
    assert 'method="post"' in page.text
    assert "set-cookie" not in page.headers
    assert page.headers["cache-control"] == "no-store"
    assert suppressed(session_factory) == []


def test_the_page_shows_the_address_only_in_part(client: TestClient, link: str) -> None:
    page = client.get(link, headers=HTML).text
    assert "G•••@Example.com" in page
    assert "race" not in page


@pytest.mark.requirement("EMAIL-01")
def test_a_person_unsubscribes_on_the_page_and_can_undo_it(
    client: TestClient, link: str, session_factory: SessionFactory
) -> None:
    done = client.post(link, data={"from_page": "1"}, headers=HTML)
    assert done.status_code == 200
    assert "You are unsubscribed" in done.text
    assert suppressed(session_factory) == ["grace@example.com"]
    undone = client.post(f"{link}/undo", headers=HTML)
    assert "You stay subscribed" in undone.text
    assert suppressed(session_factory) == []


def test_whoever_is_unsubscribed_sees_so_and_may_undo(client: TestClient, link: str) -> None:
    client.post(link, data=ONE_CLICK)
    page = client.get(link, headers=HTML).text
    assert "You are unsubscribed" in page
    assert f'action="{link}/undo"' in page


@pytest.mark.requirement("EMAIL-05")
def test_repeating_it_gives_the_same_answer(
    client: TestClient, link: str, session_factory: SessionFactory
) -> None:
    answers = [client.post(link, data=ONE_CLICK) for _ in range(3)]
    assert [(answer.status_code, answer.content) for answer in answers] == [(200, b"")] * 3
    assert suppressed(session_factory) == ["grace@example.com"]


def test_unsubscribing_again_after_an_undo_holds(
    client: TestClient, link: str, session_factory: SessionFactory
) -> None:
    client.post(link, data=ONE_CLICK)
    client.post(f"{link}/undo")
    client.post(link, data=ONE_CLICK)
    assert suppressed(session_factory) == ["grace@example.com"]


@pytest.mark.parametrize("token", ["x", "1.MS4x.AAAA", "é", "1..", "%00"])
def test_an_unsigned_token_is_not_found(
    client: TestClient, session_factory: SessionFactory, token: str
) -> None:
    path = f"/unsubscribe/{token}"
    for response in (client.get(path, headers=HTML), client.post(path, data=ONE_CLICK)):
        assert response.status_code == 404
    assert suppressed(session_factory) == []


def test_a_broken_link_speaks_to_the_shops_customer(client: TestClient) -> None:
    page = client.get("/unsubscribe/x", headers=HTML).text
    assert "Copy the whole link from the mail" in page
    assert "Overview" not in page


def test_a_token_cannot_be_changed_into_another_persons(
    client: TestClient, link: str, session_factory: SessionFactory
) -> None:
    version, _, signature = link.rpartition("/")[2].split(".")
    forged = f"/unsubscribe/{version}.MS4y.{signature}"
    assert client.post(forged, data=ONE_CLICK).status_code == 404
    assert suppressed(session_factory) == []


def test_a_mail_that_is_gone_is_not_found_rather_than_a_false_success(
    client: TestClient, link: str, session_factory: SessionFactory
) -> None:
    with session_scope(session_factory) as session:
        session.delete(session.scalars(select(Message)).one())
    assert client.post(link, data=ONE_CLICK).status_code == 404


def events(factory: SessionFactory) -> list[ConsentEvent]:
    with session_scope(factory) as session:
        return list(session.scalars(select(ConsentEvent).order_by(ConsentEvent.consent_event_id)))


def left_flows(factory: SessionFactory) -> set[str]:
    with session_scope(factory) as session:
        return set(
            session.scalars(
                select(Automation.key)
                .join(OptOut, OptOut.automation_id == Automation.automation_id)
                .where(OptOut.lifted_at.is_(None))
            )
        )


def flow_ids(factory: SessionFactory) -> dict[str, int]:
    with session_scope(factory) as session:
        return dict(session.execute(select(Automation.key, Automation.automation_id)).all())


@pytest.mark.requirement("EMAIL-01", "EMAIL-05")
def test_a_post_that_says_success_has_done_everything_before_it_answers(
    client: TestClient, link: str, session_factory: SessionFactory, shop: Shop
) -> None:
    """Elsewhere such a POST answered 200 and suppressed nobody."""
    with session_scope(session_factory) as session:
        sent = session.scalars(select(Message)).one()
        values = {
            column.name: getattr(sent, column.name)
            for column in Message.__table__.columns
            if column.name not in {"message_id", "dedupe_key", "state"}
        }
        session.add(Message(**values, dedupe_key="vip", state=MessageState.QUEUED))
    response = client.post(
        link, data=ONE_CLICK, headers={"user-agent": "Mail/1"}, follow_redirects=False
    )
    assert (response.status_code, response.content) == (200, b"")
    assert suppressed(session_factory) == ["grace@example.com"]
    with session_scope(session_factory) as session:
        waiting = session.scalars(select(Message).where(Message.dedupe_key == "vip")).one()
        assert (waiting.state, waiting.skip_reason) == (
            MessageState.SKIPPED,
            SkipReason.UNSUBSCRIBED,
        )
    [event] = events(session_factory)
    assert (event.source, event.state_before, event.state_after) == (
        ConsentSource.ONE_CLICK,
        ConsentStanding.SUBSCRIBED,
        ConsentStanding.UNSUBSCRIBED,
    )
    assert (event.ip, event.user_agent) == ("testclient", "Mail/1")


@pytest.mark.requirement("EMAIL-05")
def test_cookies_and_logins_make_no_difference(
    owner: TestClient, link: str, session_factory: SessionFactory
) -> None:
    response = owner.post(link, data=ONE_CLICK, headers={"origin": "https://mail.example"})
    assert (response.status_code, "set-cookie" in response.headers) == (200, False)
    assert suppressed(session_factory) == ["grace@example.com"]


@pytest.mark.requirement("EMAIL-01")
def test_the_ledger_keeps_what_a_person_was_shown(
    client: TestClient, link: str, session_factory: SessionFactory
) -> None:
    page = client.get(link, headers=HTML).text
    client.post(link, data={"from_page": "1"}, headers=HTML)
    done = client.get(link, headers=HTML).text
    client.post(f"{link}/undo", headers=HTML)
    left, back = events(session_factory)
    assert (left.source, back.source) == (ConsentSource.PAGE, ConsentSource.UNDO)
    assert left.wording is not None
    assert back.wording is not None
    assert f">{left.wording}</button>" in page
    assert f">{back.wording}</button>" in done
    assert left.wording_version == "page/2026-11"


@pytest.mark.requirement("EMAIL-02")
def test_a_person_chooses_which_mails_to_get(
    client: TestClient, link: str, session_factory: SessionFactory
) -> None:
    page = client.get(link, headers=HTML).text
    assert "Thanks to the best customers" in page
    assert "New glazes" in page  # the merchant's own flow goes by its name
    assert "not been there for long" not in page  # a flow that is off
    assert page.count(" checked") == 3
    keep = [flow_ids(session_factory)["vip"]]
    saved = client.post(f"{link}/choices", data={"keep": keep}, headers=HTML)
    assert "Saved." in saved.text
    assert left_flows(session_factory) == {"welcome", "glaze"}
    assert suppressed(session_factory) == []
    assert client.get(link, headers=HTML).text.count(" checked") == 1
    everything = list(flow_ids(session_factory).values())
    client.post(f"{link}/choices", data={"keep": everything})
    assert left_flows(session_factory) == set()


@pytest.mark.parametrize("keep", ["x", "99999999999999999999", "-1 OR 1"])
def test_choices_that_are_no_numbers_change_nothing(
    client: TestClient, link: str, session_factory: SessionFactory, keep: str
) -> None:
    response = client.post(f"{link}/choices", data={"keep": [keep]})
    assert response.status_code in (200, 422)
    assert events(session_factory) == [] or keep.isdigit()


@pytest.mark.requirement("EMAIL-01")
def test_a_reason_is_kept_beside_the_unsubscribe_and_asked_for_only_then(
    client: TestClient, link: str, session_factory: SessionFactory
) -> None:
    said = {"reason": "too_many", "words": "Every day!"}
    client.post(f"{link}/reason", data=said)
    assert events(session_factory) == []
    client.post(link, data=ONE_CLICK)
    page = client.post(f"{link}/reason", data=said, headers=HTML)
    assert "Thank you" in page.text
    event = events(session_factory)[-1]
    assert (event.reason, event.reason_text) == (LeavingReason.TOO_MANY, "Every day!")
    for bad in ({"reason": "rude"}, {"words": "x"}, {"reason": "other", "words": "x" * 301}):
        assert client.post(f"{link}/reason", data=bad).status_code == 422
    assert len(events(session_factory)) == 2


@pytest.mark.requirement("EMAIL-05")
def test_the_link_of_a_test_mail_changes_nothing_and_says_so(
    client: TestClient, link: str, session_factory: SessionFactory
) -> None:
    """The merchant who looks at a test mail may be a customer of the shop."""
    with session_scope(session_factory) as session:
        session.scalars(select(Message)).one().is_test = True
    assert "changes nothing" in client.get(link, headers=HTML).text
    for path, form in (
        ("", ONE_CLICK),
        ("", {"from_page": "1"}),
        ("/undo", {}),
        ("/choices", {}),
        ("/reason", {"reason": "other"}),
    ):
        assert client.post(link + path, data=form, headers=HTML).status_code == 200
    assert suppressed(session_factory) == []
    assert events(session_factory) == []


@pytest.mark.requirement("EMAIL-01", "SHOP-07")
def test_an_erased_persons_link_answers_as_if_done_and_tells_nothing(
    client: TestClient, link: str, session_factory: SessionFactory
) -> None:
    with session_scope(session_factory) as session:
        message = session.scalars(select(Message)).one()
        message.email = message.customer_id = message.subject = None
    for page in (
        client.get(link, headers=HTML),
        client.post(link, data={"from_page": "1"}, headers=HTML),
        client.post(f"{link}/undo", headers=HTML),
        client.post(f"{link}/choices", headers=HTML),
    ):
        assert page.status_code == 200
        assert "You are unsubscribed" in page.text
        assert "race" not in page.text
        assert "/undo" not in page.text
    one_click = client.post(link, data=ONE_CLICK)
    assert (one_click.status_code, one_click.content) == (200, b"")
    assert suppressed(session_factory) == []
    assert events(session_factory) == []


@pytest.mark.requirement("EMAIL-01")
def test_a_link_used_as_by_a_machine_is_slowed_down_but_never_kept_from_leaving(
    client: TestClient, link: str, session_factory: SessionFactory
) -> None:
    answers = []
    for _ in range(25):
        answers.append(client.post(link, data=ONE_CLICK).status_code)
        answers.append(client.post(f"{link}/undo").status_code)
    assert set(answers[::2]) == {200}
    assert answers[1] == 200
    assert answers[-1] == 429
    assert suppressed(session_factory) == ["grace@example.com"]
    assert len(events(session_factory)) <= 41


@pytest.mark.requirement("EMAIL-01")
def test_who_left_at_the_shop_is_told_so_and_offered_no_undo_of_ours(
    client: TestClient, link: str, session_factory: SessionFactory
) -> None:
    with session_scope(session_factory) as session:
        session.scalars(select(Customer)).one().consent_state = ConsentState.UNSUBSCRIBED
    page = client.get(link, headers=HTML).text
    assert "You unsubscribed at the shop" in page
    assert "/undo" not in page
    assert client.post(link, data=ONE_CLICK).status_code == 200
    assert suppressed(session_factory) == ["grace@example.com"]


def test_the_page_speaks_the_shops_brand_and_loads_nothing_else(
    client: TestClient, link: str, session_factory: SessionFactory
) -> None:
    with session_scope(session_factory) as session:
        shop = session.scalars(select(Shop)).one()
        shop.accent_color = "#8a3b12"
        shop.logo_url = "https://cdn.example/logo.png"
    page = client.get(link, headers=HTML)
    assert "--color-primary: #8a3b12;" in page.text
    assert '<img class="brand-light h-auto" src="https://cdn.example/logo.png"' in page.text
    assert "EcomCRM" not in page.text
    assert "1 Kiln Lane, Stoke" in page.text
    assert "<script" not in page.text
    policy = dict(
        part.strip().split(" ", 1)
        for part in page.headers["content-security-policy"].split(";")
        if " " in part.strip()
    )
    assert policy["img-src"] == "'self' data: https://cdn.example/logo.png"
    nonce = page.text.split('<style nonce="')[1].split('"')[0]
    assert policy["style-src"] == f"'self' 'nonce-{nonce}'"
