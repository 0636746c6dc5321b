"""A template made ready for one brand and one content: what is the same in every mail is worked out
once, in the syntax tree.

Merchants' words enter the tree as constants, so no text of theirs is ever read as Jinja, whatever
it holds. What is left for each mail is names, product rows and links.
"""

import html
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeAlias

from jinja2 import Environment, Template, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.visitor import NodeTransformer

from activation.rendering.brand import Brand
from activation.rendering.compile import TemplateError
from activation.rendering.content import HREF, ParsedContent
from activation.rendering.placeholders import Parts, Placeholder, link_name, parse
from activation.rendering.plain import LINK, plain_body
from activation.rendering.text import ascii_html, html_text

Literal: TypeAlias = Callable[[str], str]
"""What words become before they stand in a mail."""

# Where a mail has what a placeholder names; `shop.name` is the same in every mail.
PLACES: Final = {
    "customer.first_name": ("customer", "first_name"),
    "order.name": ("order", "name"),
    "product.title": ("order", "first_title"),
    "discount.code": ("discount", "code"),
}
# Styles on the elements themselves: some clients drop those of the head.
STYLED: Final = (
    ("<p>", '<p style="margin:0 0 16px">'),
    ("<ul>", '<ul style="margin:0 0 16px;padding:0 0 0 22px">'),
    ("<ol>", '<ol style="margin:0 0 16px;padding:0 0 0 22px">'),
    ("<li>", '<li style="margin:0 0 6px">'),
)
LINK_STYLE: Final = '" class="link" style="color:{ink};text-decoration:underline">'


@dataclass(frozen=True)
class Words:
    """What `content.…` stands for: what is said, and what a condition about it asks."""

    said: Mapping[str, list[nodes.Expr]]
    asked: Mapping[str, nodes.Expr]


@dataclass(frozen=True)
class Blank:
    """Filled from a mail's context, else with the fallback."""

    owner: str
    item: str
    fallback: str

    def filled(self, context: Mapping[str, Any]) -> str:
        return str(context[self.owner][self.item] or self.fallback)


def links_of(content: ParsedContent) -> tuple[str, ...]:
    """Where the links lead, the button's first and the body's in turn: a URL, or the name of one
    of the mail's own.
    """
    hrefs = [content.button_link, *map(html.unescape, HREF.findall(content.body))]
    return tuple(link_name(href) or href for href in hrefs)


def html_words(content: ParsedContent, brand: Brand) -> Words:
    body: list[nodes.Expr] = []
    for number, piece in enumerate(HREF.split(content.body)):
        if number % 2:
            body.append(_link(number // 2 + 1))
        else:
            body += _said(parse(_styled(piece, brand), field="Body"), content, brand, ascii_html)
    return _words(content, brand, body, html_text)


def text_words(content: ParsedContent, brand: Brand) -> Words:
    text, _ = plain_body(content.body)
    body: list[nodes.Expr] = []
    for number, piece in enumerate(LINK.split(text)):
        if number % 2:
            body.append(_link(int(piece) + 1, "plain_links"))
        else:
            body += _said(parse(piece, field="Body"), content, brand)
    return _words(content, brand, body, str, links="plain_links")


def subject_of(content: ParsedContent, brand: Brand) -> tuple[str | Blank, ...]:
    """The subject's parts, one after the other; a template would be slower for so few words."""
    return tuple(
        part if isinstance(part, str) else _blank(part, content, brand) for part in content.subject
    )


def bake(environment: Environment, source: str, brand: Brand, words: Words) -> Template:
    """Raises TemplateError when the source asks for what no brand and no content has."""
    tree = environment.parse(source)
    return _compiled(environment, _Baker(asdict(brand), words).visit(tree))


def _blank(part: Placeholder, content: ParsedContent, brand: Brand) -> str | Blank:
    if part.name == "shop.name":
        return brand.name or part.fallback
    code = content.discount_code if part.name == "discount.code" else ""
    return Blank(*PLACES[part.name], code or part.fallback)


def _compiled(environment: Environment, tree: nodes.Template) -> Template:
    tree.set_environment(environment)
    tree.set_lineno(1)
    code = environment.compile(tree)
    return environment.template_class.from_code(environment, code, {})


class PlainItems(CodeGenerator):
    """Says `item['title']` as Python does, where a sandbox would call a function to look it up.

    Contexts are plain dictionaries and lists, and an index that is a constant reaches nothing but
    what they hold: no attribute, as the sandbox's own look-up falls back to.
    """

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:  # noqa: N802
        if isinstance(node.arg, nodes.Const):
            self.visit(node.node, frame)
            self.write(f"[{node.arg.value!r}]")
        else:
            super().visit_Getitem(node, frame)


class _Baker(NodeTransformer):
    """Replaces `brand.…` and `content.…`; drops branches that no mail of this content takes."""

    def __init__(self, brand: Mapping[str, str], words: Words) -> None:
        self._brand = brand
        self._words = words

    def visit_Output(self, node: nodes.Output) -> nodes.Node:  # noqa: N802 - Jinja's visitors
        said: list[nodes.Expr] = []
        for child in node.nodes:
            if _is_of(child, "content"):
                said += _find(self._words.said, child)
            else:
                said.append(self.visit(child))
        node.nodes = said
        return node

    def visit_Getattr(self, node: nodes.Getattr) -> nodes.Node:  # noqa: N802
        if _is_of(node, "brand"):
            return nodes.Const(_find(self._brand, node))
        if _is_of(node, "content"):
            return _find(self._words.asked, node)  # type: ignore[no-any-return]
        self.generic_visit(node)
        if _is_name(node.node, "loop"):
            return node
        # Contexts are plain dictionaries: an item is found at once, an attribute only in vain.
        return nodes.Getitem(node.node, nodes.Const(node.attr), "load")

    def visit_If(self, node: nodes.If) -> Any:  # noqa: N802
        self.generic_visit(node)
        if isinstance(node.test, nodes.Const) and not node.elif_:
            return node.body if node.test.value else node.else_
        return node


def _find(known: Mapping[str, Any], node: nodes.Expr) -> Any:
    assert isinstance(node, nodes.Getattr)  # noqa: S101 - for the type checker
    try:
        return known[node.attr]
    except KeyError:
        owner = node.node.name if isinstance(node.node, nodes.Name) else "?"
        raise TemplateError(f"line {node.lineno}: there is no {owner}.{node.attr}") from None


def _is_of(node: nodes.Node, owner: str) -> bool:
    return isinstance(node, nodes.Getattr) and _is_name(node.node, owner)


def _is_name(node: nodes.Node, name: str) -> bool:
    return isinstance(node, nodes.Name) and node.name == name


def _words(
    content: ParsedContent,
    brand: Brand,
    body: list[nodes.Expr],
    literal: Literal,
    *,
    links: str = "links",
) -> Words:
    fields = {
        name: _said(getattr(content, name), content, brand, literal)
        for name in ("subject", "preheader", "headline", "button_text", "discount_note")
    }
    code = _code(content.discount_code)
    said = fields | {"body": body, "discount_code": [code], "button_link": [_link(0, links)]}
    asked: dict[str, nodes.Expr] = {name: nodes.Const(bool(part)) for name, part in said.items()}
    asked["button_link"] = nodes.Const(bool(content.button_link))
    return Words(said, asked | {"discount_code": code})


def _said(
    parts: Parts, content: ParsedContent, brand: Brand, literal: Literal = str
) -> list[nodes.Expr]:
    return [_placed(part, content, brand, literal) for part in parts]


def _placed(
    part: str | Placeholder, content: ParsedContent, brand: Brand, literal: Literal
) -> nodes.Expr:
    if isinstance(part, str):
        return nodes.TemplateData(literal(part))
    blank = _blank(part, content, brand)
    if isinstance(blank, str):
        return nodes.Const(blank)
    return nodes.Or(_looked_up(blank.owner, blank.item), nodes.Const(blank.fallback))


def _code(fixed: str) -> nodes.Expr:
    """A code of this customer's own goes before the one that all get."""
    return nodes.Or(_looked_up(*PLACES["discount.code"]), nodes.Const(fixed))


def _link(number: int, links: str = "links") -> nodes.Expr:
    """In the text part links are spelt out, and so lead straight to their place."""
    return nodes.Getitem(nodes.Name(links, "load"), nodes.Const(number), "load")


def _looked_up(owner: str, item: str) -> nodes.Expr:
    return nodes.Getitem(nodes.Name(owner, "load"), nodes.Const(item), "load")


def _styled(piece: str, brand: Brand) -> str:
    for tag, styled in STYLED:
        piece = piece.replace(tag, styled)
    if piece.startswith('">'):  # where a link's address ended, the rest of its tag is left
        return LINK_STYLE.replace("{ink}", brand.accent_ink) + piece[2:]
    return piece
