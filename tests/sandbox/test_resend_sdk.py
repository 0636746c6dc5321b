"""The product's questions to its account, by the vendor's SDK, answered by the sandbox."""

import pytest
from pydantic import SecretStr

from activation.provider.resend_account import ResendAccount
from core.errors import PermanentError, TransientError
from tests.sandbox.support import KEY, Running


def account(sandbox: Running, key: str = KEY) -> ResendAccount:
    return ResendAccount(api_key=SecretStr(key), base_url=f"{sandbox.url}/resend")


@pytest.mark.requirement("EMAIL-03", "AUTO-05")
def test_the_sdk_pages_looks_up_suppresses_and_reads_the_set_up(sandbox: Running) -> None:
    sandbox.fault(resend_rate_per_second=1000, resend_events_off=True)
    ours = account(sandbox)
    tags = [{"name": "send_id", "value": "7"}]
    ids = [sandbox.send(f"c{n}@example.com", tags=tags).json()["id"] for n in range(3)]
    page = ours.list_sent()
    assert [mail.message_id for mail in page.mails] == ids[::-1]
    assert (page.mails[0].to, page.next_after) == (("c2@example.com",), None)
    assert [mail.message_id for mail in ours.list_sent(after=ids[1]).mails] == [ids[0]]
    found = ours.look_up(ids[0])
    assert found is not None
    assert found.tags == {"send_id": "7"}
    assert ours.look_up("none") is None

    emails = [f"s{number:03}@example.com" for number in range(150)]
    ours.suppress(emails[:100])
    ours.suppress(emails[100:])
    first = ours.list_suppressed()
    assert len(first.lines) == 100
    rest = ours.list_suppressed(after=first.next_after)
    assert rest.next_after is None
    assert sorted(line.email for line in (*first.lines, *rest.lines)) == emails
    assert {line.origin for line in rest.lines} == {"manual"}
    ours.unsuppress([emails[0], "nobody@example.com"])
    assert len(ours.list_suppressed().lines) == 100

    assert ours.domains() == []
    [webhook] = ours.webhooks()
    assert webhook["endpoint"] == f"{sandbox.receiver.url}/resend"


def test_the_domain_of_a_shop_is_read_with_its_records(quiet_shop: Running) -> None:
    [domain] = account(quiet_shop).domains()
    assert (domain["name"], domain["status"]) == ("try.example", "verified")
    assert {each["record"] for each in domain["records"]} == {"SPF", "DKIM"}


def test_a_wrong_key_is_permanent_and_a_fault_passes(sandbox: Running) -> None:
    with pytest.raises(PermanentError, match="invalid_api_key"):
        account(sandbox, "re_other").list_suppressed()
    sandbox.fault(resend_times=1, resend_status=503)
    with pytest.raises(TransientError):
        account(sandbox).domains()
