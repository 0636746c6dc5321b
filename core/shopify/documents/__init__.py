"""The GraphQL documents we send, one file each; a test validates all against Shopify's schema.

`$fields/name$` in a document stands for the selection in `fields/name.graphql`, so that a bulk
line and a read by id have the same shape. A field that older versions lack says so behind it:
`checkoutToken # since 2026-07`; so does one that an app may do without: `# needs read_products`.
"""

import re
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent
_INCLUDE = re.compile(r"^( *)\$(fields/\w+)\$$", re.MULTILINE)
_SINCE = re.compile(r"\s*# since (\d{4}-\d\d)$")
_NEEDS = re.compile(r"\s*# needs (\w+)$")
NOTHING: frozenset[str] = frozenset()


@cache
def load(name: str, version: str | None = None, without: frozenset[str] = NOTHING) -> str:
    """The document `name`.graphql without its comments, selections included.

    Fields that `version` of the API lacks are left out, and those that need a scope of `without`;
    by default all are in.
    """
    text = _INCLUDE.sub(lambda found: _indented(_read(found[2]), found[1]), _read(name))
    lines = (line for line in text.splitlines() if _has(version, without, line))
    return "\n".join(_NEEDS.sub("", _SINCE.sub("", line)) for line in lines)


def names() -> list[str]:
    return sorted(path.stem for path in _FOLDER.glob("*.graphql"))


def bulk_query(
    name: str,
    search: str,
    *,
    sort: str = "UPDATED_AT",
    version: str | None = None,
    without: frozenset[str] = NOTHING,
) -> str:
    """The bulk document `name` over the window `search` ("" = everything)."""
    return load(name, version, without).replace("$filter$", search).replace("$sort$", sort)


def _has(version: str | None, without: frozenset[str], line: str) -> bool:
    since, needs = _SINCE.search(line), _NEEDS.search(line)
    is_served = since is None or version is None or version >= since[1]
    return is_served and (needs is None or needs[1] not in without)


def _read(name: str) -> str:
    text = (_FOLDER / f"{name}.graphql").read_text()
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))


def _indented(text: str, indent: str) -> str:
    return "\n".join(indent + line for line in text.splitlines())
