"""The GraphQL documents we send, one file each; a test validates all against Shopify's schema.

`$fields/name$` in a document stands for the selection in `fields/name.graphql`, so that a bulk
line and a read by id have the same shape. A field that older versions lack says so behind it:
`checkoutToken # since 2026-07`.
"""

import re
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent
_INCLUDE = re.compile(r"^( *)\$(fields/\w+)\$$", re.MULTILINE)
_SINCE = re.compile(r"\s*# since (\d{4}-\d\d)$")


@cache
def load(name: str, version: str | None = None) -> str:
    """The document `name`.graphql without its comments, selections included.

    Fields that `version` of the API lacks are left out; by default all are in.
    """
    text = _INCLUDE.sub(lambda found: _indented(_read(found[2]), found[1]), _read(name))
    lines = (line for line in text.splitlines() if _has(version, line))
    return "\n".join(_SINCE.sub("", line) for line in lines)


def names() -> list[str]:
    return sorted(path.stem for path in _FOLDER.glob("*.graphql"))


def bulk_query(
    name: str, search: str, *, sort: str = "UPDATED_AT", version: str | None = None
) -> str:
    """The bulk document `name` over the window `search` ("" = everything)."""
    return load(name, version).replace("$filter$", search).replace("$sort$", sort)


def _has(version: str | None, line: str) -> bool:
    since = _SINCE.search(line)
    return since is None or version is None or version >= since[1]


def _read(name: str) -> str:
    text = (_FOLDER / f"{name}.graphql").read_text()
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))


def _indented(text: str, indent: str) -> str:
    return "\n".join(indent + line for line in text.splitlines())
