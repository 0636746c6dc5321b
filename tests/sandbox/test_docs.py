import re
from pathlib import Path

import pytest

from sandbox.app import happenings
from sandbox.config import OPTIONAL, REQUIRED
from sandbox.control_shop import ShopControl
from sandbox.faults import DEFAULTS
from sandbox.shopify.webhooks import TOPICS
from tests.sandbox.support import Running

PAGE = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text()


def test_every_knob_is_documented_and_no_other() -> None:
    rows = PAGE.partition("## Knobs")[2].splitlines()
    cells = [row.split("|")[1] for row in rows if row.startswith("| `")]
    assert set(re.findall(r"`(\w+)`", "".join(cells))) == set(DEFAULTS)


@pytest.mark.parametrize("name", [*REQUIRED, *OPTIONAL, *TOPICS])
def test_variables_and_topics_are_documented(name: str) -> None:
    assert f"`{name}`" in PAGE


def test_every_control_path_is_documented(quiet_shop: Running) -> None:
    for path in ("/_sandbox/shops", "/_sandbox/faults", "/_sandbox/deliveries"):
        assert path in PAGE
        assert quiet_shop.client.get(path).status_code == 200
    known = [path.replace(":int", "") for path in happenings(ShopControl(quiet_shop.world))]
    for path in ["oracle", "simulator", *known]:
        assert f"`POST /_sandbox/shops/{{shop}}/{path}`" in PAGE or f"…/{path}" in PAGE, path
