"""The GraphQL documents we send, one file each; a test validates all against Shopify's schema.

`$fields/name$` in a document stands for the selection in `fields/name.graphql`, so that a bulk
line and a read by id have the same shape.
"""

import re
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent
_INCLUDE = re.compile(r"^( *)\$(fields/\w+)\$$", re.MULTILINE)


@cache
def load(name: str) -> str:
    """The document `name`.graphql without its comment lines, selections included."""
    return _INCLUDE.sub(lambda found: _indented(_read(found[2]), found[1]), _read(name))


def names() -> list[str]:
    return sorted(path.stem for path in _FOLDER.glob("*.graphql"))


def bulk_query(name: str, search: str, *, sort: str = "UPDATED_AT") -> str:
    """The bulk document `name` over the window `search` ("" = everything)."""
    return load(name).replace("$filter$", search).replace("$sort$", sort)


def _read(name: str) -> str:
    text = (_FOLDER / f"{name}.graphql").read_text()
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))


def _indented(text: str, indent: str) -> str:
    return "\n".join(indent + line for line in text.splitlines())
