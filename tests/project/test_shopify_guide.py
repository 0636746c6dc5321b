"""docs/shopify.md says what the code does: scopes, topics, versions, messages."""

import re
import tomllib

from core.paths import PROJECT_ROOT
from core.scopes import NEEDED
from core.settings import Settings
from core.subscriptions import WEBHOOK_PATH, WEBHOOK_TOPICS
from ops.schema_file import VERSIONS

GUIDE = (PROJECT_ROOT / "docs" / "shopify.md").read_text()


def section(title: str) -> str:
    return GUIDE.split(f"{title}\n", 1)[1].split("\n#", 1)[0]


def first_cells(text: str) -> list[str]:
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [row[0] for row in rows if not row[0].startswith("---")]


def test_the_scopes_are_those_that_are_checked() -> None:
    table = [cell.strip("`") for cell in first_cells(section("### Scopes"))[1:]]
    assert table == list(NEEDED)
    configuration = tomllib.loads(re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)[0])
    assert configuration["access_scopes"]["scopes"].split(",") == list(NEEDED)


def test_the_configuration_names_the_compliance_topics_and_our_address() -> None:
    configuration = tomllib.loads(re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)[0])
    [subscription] = configuration["webhooks"]["subscriptions"]
    assert set(subscription["compliance_topics"]) == {
        "customers/data_request",
        "customers/redact",
        "shop/redact",
    }
    assert subscription["uri"].endswith(WEBHOOK_PATH)
    default = Settings.model_fields["shopify_api_version"].default
    assert configuration["webhooks"]["api_version"] == default


def test_the_topics_are_those_that_are_subscribed() -> None:
    table = section("## 4. What Shopify tells us, and what we ask").split("| When |")[0]
    told = re.findall(r"`([a-z_]+[/.][a-z_]+)`", table)
    assert sorted(re.sub(r"[/.]", "_", topic).upper() for topic in told) == sorted(WEBHOOK_TOPICS)


def test_the_versions_are_those_whose_schemas_are_tested() -> None:
    assert f"any from {VERSIONS[0]} to {VERSIONS[-1]}" in GUIDE


def test_every_message_is_one_that_the_code_says() -> None:
    """Texts that the code breaks over two lines are put together again first."""
    sources = [
        path.read_text()
        for package in ("core", "activation")
        for path in (PROJECT_ROOT / package).rglob("*.py")
    ]
    code = re.sub(r'"\s*\n\s*f?"', "", "\n".join(sources))
    messages = first_cells(section("## 7. What a message means"))[1:]
    assert len(messages) > 10
    assert [message for message in messages if message not in code] == []
