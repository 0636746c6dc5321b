"""Where the project's own files are; the one place that knows."""

from pathlib import Path
from typing import Final

PROJECT_ROOT: Final = Path(__file__).resolve().parent.parent
DBT_PROJECT: Final = PROJECT_ROOT / "dbt_project"
