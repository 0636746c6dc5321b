"""A merchant's HTML as the text part says it: paragraphs wrapped, lists with dashes, links spelt
out.

Written for the few tags that cleaning leaves; several hundred times quicker than a general
converter is not needed, because it runs once per content and not per mail.
"""

import re
import textwrap
from html.parser import HTMLParser
from typing import Final

from activation.rendering.placeholders import PLACEHOLDER

WIDTH: Final = 72
LINK: Final = re.compile("\x02(\\d+)\x02")
HELD: Final = re.compile("\x01(\\d+)\x01_*")
HELD_WIDTH: Final = 10  # what a name or product usually takes


def plain_body(body: str) -> tuple[str, tuple[str, ...]]:
    """The text, with a mark that LINK finds where the nth link stands, and the links in turn."""
    reader = _Reader()
    held: list[str] = []

    def hold(found: re.Match[str]) -> str:
        held.append(found.group())
        return f"\x01{len(held) - 1}\x01".ljust(HELD_WIDTH, "_")

    # A placeholder has spaces, at which a line must not break; those in a link are the reader's.
    pieces = re.split(r'(<a href="[^"]*">)', body)
    reader.feed("".join(p if p.startswith("<a ") else PLACEHOLDER.sub(hold, p) for p in pieces))
    reader.close()
    text = reader.text()
    return HELD.sub(lambda found: held[int(found[1])], text), tuple(reader.links)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self._blocks: list[tuple[str, str]] = []  # what a block begins with, and its words
        self._words = ""
        self._bullet = ""
        self._lists: list[int | None] = []
        self._link_words: int | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "br":
            self._words += "\n"
        elif tag in ("p", "ul", "ol"):
            self._end_block()
            if tag != "p":
                self._lists.append(0 if tag == "ol" else None)
        elif tag == "li":
            self._end_block()
            self._bullet = self._next_bullet()
        elif tag == "a":
            self.links.append(dict(attrs).get("href") or "")
            self._link_words = len(self._words)

    def handle_endtag(self, tag: str) -> None:
        if tag == "a" and self._link_words is not None:
            said = self._words[self._link_words :].strip()
            marker = f"\x02{len(self.links) - 1}\x02"
            if said == self.links[-1] or not said:
                self._words = self._words[: self._link_words] + marker
            else:
                self._words += f" ({marker})"
            self._link_words = None
        elif tag in ("p", "li", "ul", "ol"):
            self._end_block()
            if tag in ("ul", "ol") and self._lists:
                self._lists.pop()

    def handle_data(self, data: str) -> None:
        self._words += re.sub(r"\s+", " ", data)

    def text(self) -> str:
        self._end_block()
        lines = ""
        before = ""
        for bullet, words in self._blocks:
            lines += ("\n" if bullet and before else "\n\n") if lines else ""
            lines += _wrapped(words, bullet)
            before = bullet
        return lines

    def _next_bullet(self) -> str:
        if not self._lists or self._lists[-1] is None:
            return "- "
        self._lists[-1] += 1
        return f"{self._lists[-1]}. "

    def _end_block(self) -> None:
        if self._words.strip():
            self._blocks.append((self._bullet, self._words.strip()))
            self._bullet = ""
        self._words = ""


def _wrapped(words: str, bullet: str) -> str:
    """Each line of a block on its own, a list's lines under its bullet."""
    indent = " " * len(bullet)
    lines = [
        textwrap.fill(
            line.strip(),
            WIDTH,
            initial_indent=bullet if number == 0 else indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for number, line in enumerate(words.split("\n"))
    ]
    return "\n".join(lines)
