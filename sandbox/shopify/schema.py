"""The real Admin schema, built from the introspection file that the set-up step fetches."""

import gzip
import json
import re
from pathlib import Path

from graphql import GraphQLSchema, build_client_schema

FALLBACK_VERSION = "2026-07"


def load_schema(path: Path) -> GraphQLSchema:
    """The schema of an introspection result, gzipped or plain. About 0.6 s and 90 MB."""
    raw = path.read_bytes()
    result = json.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw)
    return build_client_schema(result.get("data") or result, assume_valid=True)


def version_of(path: Path) -> str:
    """The API version in the file's name (`admin_2026-07.json.gz`)."""
    found = re.search(r"\d{4}-\d{2}", path.name)
    return found.group() if found else FALLBACK_VERSION
