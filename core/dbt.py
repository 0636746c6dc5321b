"""Where dbt connects, and the page of documentation it makes of the project.

What two packages need of dbt; nobody imports dbt itself, which costs seconds.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from sqlalchemy.engine import make_url

from core.errors import PermanentError
from core.paths import DBT_PROJECT

EXECUTABLE: Final = Path(sys.executable).with_name("dbt")
_PAGE: Final = "static_index.html"  # as `dbt docs generate --static` names it


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
    with tempfile.TemporaryDirectory(dir=page.parent, prefix="docs-") as scratch:
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
