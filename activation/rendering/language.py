"""The part of Jinja that templates may use: nothing in it can make much out of little.

A sandbox keeps a template from Python's insides, but lets it ask for `'a' * 30_000_000` or count to
a billion. Here loops go over a mail's products only, one inside another never, and nothing adds,
multiplies, calls or assigns. So what a template can make is at most its own length times the few
products a mail lists, and the time for it is as short. This costs nothing per mail
(docs/decisions/0028).
"""

from typing import Final

from jinja2 import nodes

from core.errors import PermanentError

MAX_SOURCE: Final = 100_000
MAX_DEPTH: Final = 40
LOOPS_OVER: Final = frozenset({"items"})
FILTERS: Final = frozenset({"capitalize", "default", "first", "length", "lower", "trim", "upper"})
ALLOWED: Final = (
    nodes.Output,
    nodes.TemplateData,
    nodes.Const,
    nodes.Name,
    nodes.Getattr,
    nodes.Getitem,
    nodes.If,
    nodes.CondExpr,
    nodes.For,
    nodes.Filter,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Concat,
)
WORDS: Final = {
    nodes.Call: "calls",
    nodes.Mul: "multiplication",
    nodes.Add: "addition",
    nodes.Mod: "the % operator",
    nodes.Pow: "powers",
    nodes.Assign: "{% set %}",
    nodes.Macro: "macros",
    nodes.Include: "{% include %}",
    nodes.Import: "{% import %}",
    nodes.Extends: "{% extends %}",
}


class LanguageError(PermanentError):
    """A template says what none may; the message has the line."""


def check_language(tree: nodes.Template) -> None:
    """Raises LanguageError for the first thing that is not allowed."""
    for node in tree.body:
        _check(node, depth=0, in_loop=False)


def _check(node: nodes.Node, *, depth: int, in_loop: bool) -> None:
    if depth > MAX_DEPTH:
        raise LanguageError(f"line {node.lineno}: this is nested too deeply.")
    if not isinstance(node, ALLOWED):
        words = WORDS.get(type(node), f"{type(node).__name__.lower()} expressions")
        raise LanguageError(f"line {node.lineno}: a mail template has no {words}.")
    if isinstance(node, nodes.For):
        _check_loop(node, in_loop=in_loop)
    if isinstance(node, nodes.Filter) and node.name not in FILTERS:
        raise LanguageError(
            f"line {node.lineno}: there is no filter {node.name}; there is "
            f"{', '.join(sorted(FILTERS))}."
        )
    if isinstance(node, nodes.Getattr) and node.attr.startswith("_"):
        raise LanguageError(f"line {node.lineno}: nothing is called {node.attr}.")
    inside = in_loop or isinstance(node, nodes.For)
    for child in node.iter_child_nodes():
        _check(child, depth=depth + 1, in_loop=inside)


def _check_loop(node: nodes.For, *, in_loop: bool) -> None:
    over = node.iter.name if isinstance(node.iter, nodes.Name) else None
    if over not in LOOPS_OVER or node.recursive or node.test is not None or in_loop:
        raise LanguageError(
            f"line {node.lineno}: a loop goes over {', '.join(sorted(LOOPS_OVER))}, not inside "
            "another and without a condition of its own."
        )
