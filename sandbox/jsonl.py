"""JSON lines exactly as Shopify's bulk results write them (docs/sandbox.md, "Shop folder")."""

from typing import Any

import orjson


def encode_line(obj: dict[str, Any]) -> bytes:
    r"""One line of a bulk result: compact JSON, keys in the order given, newline at the end.

    `/` is written `\/` and `&` is written `\u0026`, as Shopify does. Both characters can stand
    only inside strings, so replacing them in the finished text is safe. Raises TypeError
    (orjson.JSONEncodeError) for values that JSON cannot hold.
    """
    return escape(orjson.dumps(obj)) + b"\n"


def escape(json_text: bytes) -> bytes:
    r"""Compact JSON with `/` and `&` escaped as in Shopify's bulk results."""
    return json_text.replace(b"/", b"\\/").replace(b"&", b"\\u0026")
