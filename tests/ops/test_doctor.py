"""`ecomcrm doctor`: each check on both sides, without a network, and on a real sandbox."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from core.database import SessionFactory, session_scope
from core.models import Shop
from core.scopes import NEEDED
from core.settings import Settings
from ops.doctor.cli import examine
from ops.doctor.dns_records import check_domain
from ops.doctor.findings import Finding, State
from ops.doctor.installation import hears_notices, judge_skew
from ops.doctor.mail import NEEDED_EVENTS, USEFUL_EVENTS, judge_sender, judge_webhooks, whole_name
from tests.activation.provider.relay import relaying

ADDRESS = "https://crm.example/webhooks/resend"
ALL = sorted(NEEDED_EVENTS | USEFUL_EVENTS)


def states(findings: list[Finding]) -> dict[str, State]:
    return {each.name: each.state for each in findings}


@pytest.mark.requirement("EMAIL-04")
@pytest.mark.parametrize(
    ("records", "expected"),
    [
        (
            {
                "send.shop.example": ["v=spf1 include:amazonses.com ~all"],
                "resend._domainkey.shop.example": ["p=MIGf"],
                "_dmarc.shop.example": ["v=DMARC1; p=none"],
            },
            [State.OK, State.OK, State.OK],
        ),
        ({"send.shop.example": ["something else"]}, [State.FAIL, State.FAIL, State.WARN]),
        (None, [State.UNCHECKED] * 3),
    ],
)
def test_the_records_of_a_domain_are_looked_up(
    records: dict[str, list[str]] | None, expected: list[State]
) -> None:
    found = check_domain(
        "shop.example",
        spf_names=["send.shop.example"],
        dkim_names=["resend._domainkey.shop.example"],
        ask=lambda name: None if records is None else records.get(name, []),
    )
    assert [each.state for each in found] == expected


def test_a_policy_of_the_domain_above_counts() -> None:
    policies = {"_dmarc.shop.example": ["v=DMARC1; p=reject"]}
    *_, dmarc = check_domain(
        "mail.shop.example", spf_names=[], dkim_names=[], ask=lambda name: policies.get(name, [])
    )
    assert dmarc.state is State.OK


@pytest.mark.parametrize(
    ("name", "domain", "whole"),
    [
        ("send", "shop.example", "send.shop.example"),
        ("send.mail", "mail.shop.example", "send.mail.shop.example"),
        ("resend._domainkey.a.b", "a.b.shop.example", "resend._domainkey.a.b.shop.example"),
        ("send.shop.example", "shop.example", "send.shop.example"),
        ("send", "shop.co.uk", "send.shop.co.uk"),
    ],
)
def test_names_of_records_are_made_whole(name: str, domain: str, whole: str) -> None:
    assert whole_name(name, domain) == whole


@pytest.mark.requirement("EMAIL-03")
@pytest.mark.parametrize(
    ("known", "state"),
    [
        ([{"endpoint": ADDRESS, "status": "enabled", "events": ALL}], State.OK),
        ([{"endpoint": ADDRESS, "status": "enabled", "events": sorted(NEEDED_EVENTS)}], State.WARN),
        ([{"endpoint": ADDRESS, "status": "enabled", "events": ["email.sent"]}], State.FAIL),
        ([{"endpoint": ADDRESS, "status": "disabled", "events": ALL}], State.FAIL),
        ([{"endpoint": "https://elsewhere.example", "events": ALL}], State.FAIL),
        ([], State.FAIL),
    ],
)
def test_the_webhook_must_be_there_enabled_and_told_everything(
    known: list[dict[str, Any]], state: State
) -> None:
    assert judge_webhooks(ADDRESS, known).state is state


def test_a_sender_must_be_of_a_verified_domain() -> None:
    assert judge_sender("s", "shop.example", {"status": "verified"}).state is State.OK
    assert judge_sender("s", "shop.example", {"status": "pending"}).state is State.FAIL
    assert judge_sender("s", "shop.example", None).state is State.FAIL


@pytest.mark.parametrize(
    ("seconds", "state"), [(4, State.OK), (-30, State.WARN), (121, State.FAIL), (-121, State.FAIL)]
)
def test_clocks_may_differ_a_little(seconds: float, state: State) -> None:
    assert judge_skew("clock", "x", timedelta(seconds=seconds)).state is state


def test_the_database_itself_keeps_sessions(settings: Settings, session_factory: object) -> None:
    url = make_url(settings.database_url.get_secret_value()).set(drivername="postgresql")
    assert hears_notices(url.render_as_string(hide_password=False))
    assert not hears_notices("postgresql://nobody@127.0.0.1:9/none")


@pytest.mark.requirement("EMAIL-04")
def test_without_a_network_nothing_fails_for_that(
    settings: Settings, session_factory: SessionFactory
) -> None:
    with session_scope(session_factory) as session:
        session.add(
            Shop(
                domain="birch.myshopify.com",
                name="Birch",
                currency="GBP",
                time_zone="Europe/London",
                client_id="id",
                client_secret_encrypted="x",
                access_scopes=list(NEEDED),
                sender_address="hello@birch-shop.com",
                postal_address="1 Sample Street",
            )
        )
    away = settings.model_copy(
        update={
            "public_url": "https://crm.example",
            "resend_base_url": "http://127.0.0.1:9",
            "smtp_url": None,
        }
    )
    found = states(examine(away, shop=None, ask=lambda _: None))
    assert State.FAIL not in found.values(), found
    assert {name for name, state in found.items() if state is State.UNCHECKED} >= {
        *("mail provider", "webhook", "clock elsewhere", "SPF", "DMARC"),
    }
    with session_scope(session_factory) as session:
        [shop] = session.query(Shop).all()
        shop.postal_address, shop.sender_address = " ", None
    bare = away.model_copy(update={"resend_webhook_secret": None, "resend_api_key": None})
    found = states(examine(bare, shop=None, ask=lambda _: None))
    wrong = {name for name, state in found.items() if state is State.FAIL}
    assert wrong == {"mail provider", "webhook secret", "postal address", "sender"}
    assert states(examine(bare, shop="x.myshopify.com", ask=lambda _: None))["shops"] is State.FAIL


def test_a_relay_is_looked_at_without_sending(settings: Settings, session_factory: object) -> None:
    with relaying() as relay:
        by_smtp = settings.model_copy(
            update={
                "mail_provider": "smtp",
                "smtp_url": type(settings.database_url)(relay.url),
                "public_url": "https://crm.example",
            }
        )
        found = states(examine(by_smtp, shop=None, ask=lambda _: None))
        assert found["mail provider"] is State.OK
        assert not any(each.lower().startswith("mail") for each in relay.commands)
        relay.answers = {"greeting": "554 go away"}
        assert (
            states(examine(by_smtp, shop=None, ask=lambda _: None))["mail provider"] is State.FAIL
        )
