"""Mail templates: a folder of three files by name, compiled once per process.

    template.toml  what it shows, and its own words: `[content]`
    body.mjml      compiled to HTML by rendering/compile.py
    body.txt       the text part, written and not derived

`render_mail` is the one way from a template to a mail: what a preview shows is what leaves.
Jinja runs in a sandbox over plain dictionaries: a template sees texts and numbers, never objects
of ours.
"""

import re
import tomllib
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

import msgspec
from jinja2 import StrictUndefined, Template
from jinja2 import TemplateError as JinjaError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from activation.rendering.bake import (
    Blank,
    PlainItems,
    bake,
    html_words,
    links_of,
    subject_of,
    text_words,
)
from activation.rendering.brand import Brand
from activation.rendering.checks import MailError, check_mail
from activation.rendering.compile import TemplateError, compile_mjml
from activation.rendering.content import MailContent, parse_content, read_content
from activation.rendering.context import MailFacts, context_of
from activation.rendering.language import FILTERS, LanguageError, check_language
from activation.rendering.placeholders import ContentError
from activation.rendering.text import html_text, one_line

FOLDER: Final = Path(__file__).resolve().parent.parent / "templates"
SHARED: Final = FOLDER / "shared"
MAX_SUBJECT: Final = 200
INCLUDE: Final = re.compile(r'[ \t]*<mj-include path="([a-z_]+\.(?:mjml|txt))" />\n?')
BLANK_LINES: Final = re.compile(r"\n{3,}")


def _environment(**options: Any) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, **options)
    environment.code_generator_class = PlainItems
    # Of what is not allowed anyway (rendering/language.py) there is nothing to find either.
    environment.globals.clear()
    for name in set(environment.filters) - FILTERS:
        del environment.filters[name]
    return environment


# Everything that is said passes `html_text`, whatever it is: there is no mark by which a value
# could call itself safe, as there is with Jinja's own escaping, which takes twice as long besides.
HTML: Final = _environment(autoescape=False, finalize=html_text)
TEXT: Final = _environment(autoescape=False, trim_blocks=True, lstrip_blocks=True)


class Shows(StrEnum):
    """What a mail is about: the products it lists, or the question it asks."""

    ORDER = "order"
    CART = "cart"
    NOTHING = "nothing"
    CONFIRMATION = "confirmation"


@dataclass(frozen=True)
class RenderedMail:
    """`subject` is one line without control characters; both parts are always present."""

    subject: str
    html: str
    text: str


@dataclass(frozen=True, eq=False)
class MailTemplate:
    """Sources that hold Jinja, and the words that stand where a merchant has given none."""

    name: str
    html: str
    text: str
    content: MailContent
    shows: Shows


@dataclass(frozen=True)
class _Ready:
    """A template with one brand and one content in it."""

    subject: tuple[str | Blank, ...]
    html: Template
    text: Template
    links: tuple[str, ...]
    address_html: str


def render_mail(
    template: MailTemplate, content: MailContent, brand: Brand, facts: MailFacts
) -> RenderedMail:
    """`content` goes before the template's own words. Raises MailError for this one mail."""
    ready = _ready(template, content, brand)
    context = context_of(facts, ready.links, shop_url=brand.url)
    try:
        # One for both parts: making it takes as long as a third of the text.
        shared = ready.html.new_context(context, shared=True)
        mail = RenderedMail(
            subject=_subject(ready.subject, context),
            html="".join(ready.html.root_render_func(shared)),
            text=_tidy("".join(ready.text.root_render_func(shared))),
        )
    except (JinjaError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise MailError(f"The template cannot be filled in: {error}") from error
    check_mail(
        html=mail.html,
        text=mail.text,
        unsubscribe_url=facts.unsubscribe_url,
        postal_address=brand.postal_address,
        address_html=ready.address_html,
    )
    return mail


def template_names() -> list[str]:
    return sorted(path.parent.name for path in FOLDER.glob("*/template.toml"))


@cache
def load_template(name: str) -> MailTemplate:
    """Read and compile the folder `name`. Raises TemplateError."""
    folder = FOLDER / name
    try:
        settings, mjml, text = (
            (folder / part).read_text(encoding="utf-8")
            for part in ("template.toml", "body.mjml", "body.txt")
        )
    except FileNotFoundError as error:
        raise TemplateError(f"There is no mail template {name!r}.") from error
    given: dict[str, Any] = tomllib.loads(settings)
    return build_template(
        name=name,
        mjml=with_shared(mjml),
        text=with_shared(text),
        content=read_content(given["content"]),
        shows=Shows(given["shows"]),
    )


def build_template(
    *, name: str, mjml: str, text: str, content: MailContent, shows: Shows
) -> MailTemplate:
    """Compile the sources. Raises TemplateError."""
    html = compile_mjml(mjml)
    try:
        for environment, source in ((HTML, html), (TEXT, text)):
            check_language(environment.parse(source))
    except (JinjaError, LanguageError, RecursionError) as error:
        raise TemplateError(f"This template cannot be read: {error}") from error
    return MailTemplate(name=name, html=html, text=text, content=content, shows=shows)


def with_shared(source: str) -> str:
    """`<mj-include path="footer.mjml" />` by the file of that name in the folder `shared`."""
    return INCLUDE.sub(lambda found: (SHARED / found[1]).read_text(encoding="utf-8"), source)


@lru_cache(maxsize=256)  # some milliseconds each; one per shop and mail in use
def _ready(template: MailTemplate, content: MailContent, brand: Brand) -> _Ready:
    try:
        parsed = parse_content(content.over(template.content))
    except (ContentError, msgspec.ValidationError) as error:
        raise MailError(f"The words of this mail cannot be used. {error}") from error
    return _Ready(
        subject=subject_of(parsed, brand),
        html=bake(HTML, template.html, brand, html_words(parsed, brand)),
        text=bake(TEXT, template.text, brand, text_words(parsed, brand)),
        links=links_of(parsed),
        address_html=html_text(brand.postal_address),
    )


def _subject(parts: tuple[str | Blank, ...], context: dict[str, Any]) -> str:
    said = [part if isinstance(part, str) else part.filled(context) for part in parts]
    return one_line("".join(said), limit=MAX_SUBJECT)


def _tidy(text: str) -> str:
    if "\n\n\n" in text:
        text = BLANK_LINES.sub("\n\n", text)
    return text.strip() + "\n"
