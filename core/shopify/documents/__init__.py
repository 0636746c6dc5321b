"""The GraphQL documents we send, one file each; a test validates all against Shopify's schema."""

from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent


@cache
def load(name: str) -> str:
    """The document `name`.graphql without its comment lines."""
    text = (_FOLDER / f"{name}.graphql").read_text()
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))


def names() -> list[str]:
    return sorted(path.stem for path in _FOLDER.glob("*.graphql"))


def bulk_query(name: str, search: str) -> str:
    """The bulk document `name` over the window `search` ("" = everything)."""
    return load(name).replace("$filter$", search)
