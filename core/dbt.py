"""Where dbt connects, and the page of documentation it makes of the project.

What two packages need of dbt; nobody imports dbt itself, which costs seconds.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy.engine import make_url

from core.errors import PermanentError
from core.paths import DBT_PROJECT

EXECUTABLE: Final = Path(sys.executable).with_name("dbt")
_PAGE: Final = "static_index.html"  # as `dbt docs generate --static` names it
_PARSE: Final = "partial_parse.msgpack"  # as dbt names what it has read of the project


def dbt_environment(database_url: str) -> dict[str, str]:
    """The variables that dbt_project/profiles.yml reads."""
    url = make_url(database_url)
    return {
        "ECOMCRM_DBT_HOST": url.host or "127.0.0.1",
        "ECOMCRM_DBT_PORT": str(url.port or 5432),
        "ECOMCRM_DBT_USER": url.username or "",
        "ECOMCRM_DBT_PASSWORD": url.password or "",
        "ECOMCRM_DBT_DATABASE": url.database or "",
    }


@contextmanager
def kept_parse(home: Path, name: str, target: Path) -> Iterator[None]:
    """Let the dbt that runs meanwhile, with `target` as its folder, begin with what the last one of
    this name had read of the project: 5 s less. dbt itself sees what has changed since.

    One name for one set of variables, or each would find the other's and read all anew.
    """
    kept = home / "dbt" / f"{name}.msgpack"
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    if kept.exists():
        shutil.copyfile(kept, target / _PARSE)
    yield
    if (target / _PARSE).exists():
        # Whole or not at all: a second run may be reading it.
        (target / _PARSE).replace(kept)


def docs_file(home: Path) -> Path:
    """One page with everything in it; the web app shows it to whoever is logged in."""
    return home / "dbt" / "docs.html"


def generate_docs(database_url: str, home: Path) -> Path:
    """Write the documentation anew; the former one stays until the new one is whole.

    Describes what is built in the database, so it may run before the first build and says more
    after it. Raises PermanentError with what dbt said.
    """
    page = docs_file(home)
    page.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=page.parent, prefix="docs-") as scratch,
        kept_parse(home, "docs", Path(scratch)),
    ):
        result = subprocess.run(  # noqa: S603 - dbt of this environment, arguments of ours
            [
                *(str(EXECUTABLE), "--no-use-colors", "docs", "generate", "--static"),
                *("--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT)),
                *("--target-path", scratch, "--log-path", scratch),
            ],
            env=os.environ | dbt_environment(database_url),
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            said = "\n".join((result.stdout + result.stderr).strip().splitlines()[-15:])
            raise PermanentError(f"dbt could not write its documentation:\n{said}")
        made = Path(scratch) / _PAGE
        made.chmod(0o600)
        made.replace(page)
    return page
