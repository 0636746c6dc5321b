"""Each flow by hand, through the real client to the sandbox's Resend."""

import httpx
import pytest
from pydantic import SecretStr

from activation.automation.presets import PRESETS
from activation.automation.trying import Trial, send_trial
from activation.provider.resend import ResendProvider
from activation.rendering.content import MailContent
from tests.activation.automation.test_trying import TO, outbox
from tests.activation.world import World
from tests.core.ingestion.test_sandbox_flow import sandbox

__all__ = ["sandbox"]

pytestmark = pytest.mark.processes


@pytest.mark.requirement("PIPE-02", "TSEND-01")
def test_each_flow_tried_by_hand_brings_its_own_mail(world: World, sandbox: str) -> None:
    url = f"{sandbox}/resend"
    with ResendProvider(
        api_key=SecretStr("re_test"), base_url=url, webhook_secret=None
    ) as provider:
        tried = {
            preset.key: send_trial(
                outbox(world, provider=provider),
                world.shop_id,
                Trial(preset.key, TO, content=MailContent(headline=f"This is {preset.key}.")),
            )
            for preset in PRESETS
        }
    assert {each.state for each in tried.values()} == {"sent"}
    for key, each in tried.items():
        mail = httpx.get(
            f"{url}/emails/{each.provider_message_id}",
            headers={"Authorization": "Bearer re_test", "User-Agent": "test"},
            trust_env=False,
        ).json()
        assert (mail["to"], mail["subject"]) == ([TO], each.subject)
        assert f"This is {key}." in mail["html"]
        assert f"This is {key}." in mail["text"]
