"""A mail's words, field by field, so that a fault can be shown at the field it is in."""

import msgspec

from activation.rendering.content import LABELS, MailContent, clean_content
from activation.rendering.placeholders import ContentError


def clean_words(content: MailContent) -> tuple[MailContent, list[tuple[str, str]]]:
    """The words as they are kept, and (field, what is wrong) for each field that cannot be."""
    cleaned: dict[str, str] = {}
    faults: list[tuple[str, str]] = []
    for name, value in msgspec.structs.asdict(content).items():
        if value is None:
            continue
        try:
            cleaned[name] = getattr(clean_content(MailContent(**{name: value})), name)
        except ContentError as error:
            faults.append((name, str(error).removeprefix(f"{LABELS[name]}: ")))
    return MailContent(**cleaned), faults
