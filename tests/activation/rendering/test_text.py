import pytest

from activation.rendering.text import greeting_name, mailbox, one_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Hello", "Hello"),
        ("  a \t b\r\nBcc: x@example.com\x00\x1b ", "a b Bcc: x@example.com"),
        ("a\u2028b", "a b"),
        ("\u202egnirts\u200b", "gnirts"),
        ("family \U0001f468\u200d\U0001f469", "family \U0001f468\u200d\U0001f469"),
        ("x" * 20, "x" * 9 + "…"),
    ],
)
def test_text_from_elsewhere_becomes_one_line(text: str, line: str) -> None:
    assert one_line(text, limit=10 if text.startswith("xx") else 100) == line


@pytest.mark.parametrize(
    ("name", "greeting"),
    [
        ("Anna", "Anna"),
        (" Jean-Luc ", "Jean-Luc"),
        ("王小明", "王小明"),
        ("عائشة", "عائشة"),
        (None, ""),
        ("", ""),
        (" \n ", ""),
        ("Win $$$ https://evil.example", ""),
        ("www.evil.example", ""),
        ("me@example.com", ""),
        ("M" * 60, "M" * 39 + "…"),
    ],
)
def test_people_are_greeted_by_a_name_and_never_by_an_advertisement(
    name: str | None, greeting: str
) -> None:
    assert greeting_name(name) == greeting


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Nordlicht", "Nordlicht <a@example.com>"),
        ("Käse & Wein", "Käse & Wein <a@example.com>"),
        ('Joe "The" Baker, Inc.', '"Joe \\"The\\" Baker, Inc." <a@example.com>'),
        ("x\r\nBcc: y@example.com", '"x Bcc: y@example.com" <a@example.com>'),
        ("", "a@example.com"),
    ],
)
def test_a_sender_is_one_mailbox_whatever_its_name(name: str, expected: str) -> None:
    assert mailbox(name, "a@example.com") == expected
