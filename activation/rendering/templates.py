"""Mail templates: a folder of three files by name, compiled once per process.

    subject.txt   one line
    body.mjml     compiled to HTML by rendering/compile.py
    body.txt      the text part, written and not derived

Jinja runs in a sandbox over plain dictionaries: a template sees texts and numbers, never objects
of ours.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import StrictUndefined, Template
from jinja2 import TemplateError as JinjaError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from activation.rendering.checks import MailError, check_mail
from activation.rendering.compile import TemplateError, compile_mjml
from activation.rendering.text import one_line

FOLDER: Final = Path(__file__).resolve().parent.parent / "templates"
MAX_SUBJECT: Final = 150


def _environment(*, autoescape: bool) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=not autoescape,
        lstrip_blocks=not autoescape,
    )
    del environment.filters["safe"]  # nothing a template holds may switch escaping off
    return environment


HTML: Final = _environment(autoescape=True)
TEXT: Final = _environment(autoescape=False)


@dataclass(frozen=True)
class RenderedMail:
    """`subject` is one line without control characters; both parts are always present."""

    subject: str
    html: str
    text: str


@dataclass(frozen=True)
class MailTemplate:
    subject: Template
    html: Template
    text: Template

    def render(self, context: dict[str, Any], *, subject: str | None = None) -> RenderedMail:
        """`subject` replaces the template's own. Raises MailError for this one mail."""
        try:
            chosen = self.subject if subject is None else TEXT.from_string(subject)
            mail = RenderedMail(
                subject=one_line(chosen.render(context), limit=MAX_SUBJECT),
                html=self.html.render(context),
                text=self.text.render(context).strip() + "\n",
            )
        except (JinjaError, ArithmeticError, TypeError, ValueError) as error:
            raise MailError(f"The template cannot be filled in: {error}") from error
        check_mail(
            html=mail.html,
            text=mail.text,
            unsubscribe_url=context["unsubscribe_url"],
            postal_address=context["shop"]["postal_address"],
        )
        return mail


@cache
def load_template(name: str) -> MailTemplate:
    """Read and compile the folder `name`. Raises TemplateError."""
    folder = FOLDER / name
    try:
        subject, mjml, text = (
            (folder / part).read_text(encoding="utf-8")
            for part in ("subject.txt", "body.mjml", "body.txt")
        )
    except FileNotFoundError as error:
        raise TemplateError(f"There is no mail template {name!r}.") from error
    return build_template(subject=subject, mjml=mjml, text=text)


def build_template(*, subject: str, mjml: str, text: str) -> MailTemplate:
    """Compile three sources. Raises TemplateError."""
    try:
        return MailTemplate(
            subject=TEXT.from_string(subject),
            html=HTML.from_string(compile_mjml(mjml)),
            text=TEXT.from_string(text),
        )
    except JinjaError as error:
        raise TemplateError(f"This template cannot be read: {error}") from error
