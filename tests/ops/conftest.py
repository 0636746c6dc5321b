import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.home import Home


@pytest.fixture
def home() -> Iterator[Home]:
    """A made home. Not under tmp_path, which for root is closed to the user of PostgreSQL, and
    which is too long a path for a socket."""
    with tempfile.TemporaryDirectory(prefix="ecomcrm-test-") as folder:
        made = Home(Path(folder) / "home")
        Path(folder).chmod(0o755)
        made.create()
        yield made
