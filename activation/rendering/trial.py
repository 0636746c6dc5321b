"""A merchant's own template, compiled and tried in a process that may use little.

Compiling is the dangerous part: the compilers are native code that no sandbox covers, and deeply
nested input can exhaust a stack, which ends the process it happens in. So it happens in one of
its own, once, when the template is saved. What comes back is HTML whose few expressions
rendering/language.py allows; each mail is then rendered as every other one.
"""

import resource
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import msgspec
import orjson

from activation.rendering.brand import Brand
from activation.rendering.checks import MailError
from activation.rendering.compile import TemplateError
from activation.rendering.content import MailContent
from activation.rendering.language import MAX_SOURCE
from activation.rendering.placeholders import ContentError
from activation.rendering.samples import BRAND, SAMPLES
from activation.rendering.templates import MailTemplate, Shows, build_template, render_mail

PATIENCE: Final = timedelta(seconds=10)
CPU_SECONDS: Final = 5
MEMORY_BYTES: Final = 1 << 30  # of address space; a Python with our imports takes a third of it
MAX_ANSWER: Final = 4 * MAX_SOURCE
COMMAND: Final = (sys.executable, "-m", "activation.rendering.trial")
TOO_MUCH: Final = "This template takes too much time or memory, so no mail can be made from it."


class Draft(msgspec.Struct, frozen=True):
    """What a merchant saved."""

    name: str
    mjml: str
    text: str
    content: MailContent
    shows: Shows


def build_draft(
    draft: Draft, *, patience: timedelta = PATIENCE, command: tuple[str, ...] = ()
) -> MailTemplate:
    """Compile and try it on every sample, within bounds. Raises TemplateError with the words."""
    if max(len(draft.mjml), len(draft.text)) > MAX_SOURCE:
        raise TemplateError(f"A template has at most {MAX_SOURCE:,} characters.")
    try:
        ended = subprocess.run(  # noqa: S603 - our own module; the draft goes in as data
            command or COMMAND,
            input=orjson.dumps(msgspec.to_builtins(draft)),
            capture_output=True,
            timeout=patience.total_seconds(),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TemplateError(TOO_MUCH) from error
    if ended.returncode != 0 or len(ended.stdout) > MAX_ANSWER:
        raise TemplateError(TOO_MUCH)
    answer: dict[str, Any] = orjson.loads(ended.stdout)
    if "problem" in answer:
        raise TemplateError(answer["problem"])
    return MailTemplate(
        name=draft.name,
        html=answer["html"],
        text=draft.text,
        content=draft.content,
        shows=draft.shows,
    )


def try_draft(draft: Draft, brand: Brand = BRAND) -> MailTemplate:
    """As build_draft, in this process. Raises TemplateError."""
    template = build_template(
        name=draft.name,
        mjml=draft.mjml,
        text=draft.text,
        content=draft.content,
        shows=draft.shows,
    )
    for name, facts in SAMPLES.items():
        try:
            render_mail(template, MailContent(), brand, facts)
            render_mail(template, MailContent(), brand, replace(facts, discount_code="CODE10"))
        except (MailError, ContentError) as error:
            raise TemplateError(f"Tried on the sample {name!r}: {error}") from error
    return template


def main() -> None:
    """The child: a draft on stdin, an answer on stdout. Ends by a signal when it takes too much."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    draft = msgspec.convert(orjson.loads(sys.stdin.buffer.read()), Draft)
    try:
        answer = {"html": try_draft(draft).html}
    except TemplateError as error:
        answer = {"problem": str(error)}
    sys.stdout.buffer.write(orjson.dumps(answer))


if __name__ == "__main__":
    main()
