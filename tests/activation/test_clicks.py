"""Links that lead through us lead only where we wrote that they lead."""

from string import ascii_letters, digits

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from activation.clicks import LONGEST_URL, Link, read_link, tracked, trap
from core.settings import Settings

SETTINGS = Settings(
    DATABASE_URL="postgresql://x@localhost/x",
    ECOMCRM_SECRET_KEY="k" * 40,
    ECOMCRM_HOME="/nowhere",
    ECOMCRM_PUBLIC_URL="https://crm.example",
)
URL = "https://shop.example/products/mug?variant=1&utm_source=mail#top"


def token_of(link: str) -> str:
    assert link.startswith("https://crm.example/c/")
    return link.removeprefix("https://crm.example/c/")


@pytest.mark.requirement("AUTO-06")
def test_a_link_says_whose_it_is_and_where_it_leads_and_is_always_the_same() -> None:
    link = tracked(SETTINGS, 3, 77, URL)
    assert read_link(SETTINGS, token_of(link)) == Link(3, 77, URL)
    assert tracked(SETTINGS, 3, 77, URL) == link
    assert len({link, tracked(SETTINGS, 3, 78, URL), tracked(SETTINGS, 4, 77, URL)}) == 3
    hidden = trap(SETTINGS, 3, 77)
    assert read_link(SETTINGS, token_of(hidden)) == Link(3, 77, None)


@pytest.mark.requirement("AUTO-06")
@pytest.mark.parametrize(
    "url",
    [
        *("mailto:shop@example.com", "tel:+4940123", "javascript:alert(1)", "data:text/html,x"),
        *("//evil.example", "/relative", "https://", "https:///path", "http:evil.example", ""),
        *("https://shop.example\\@evil.example", "https://shop.example@evil.example/"),
        *("https://shop.example/\r\nSet-Cookie: a=b", "https://shop.example/a b", "https://[::1"),
        *("https://shop.example/\N{LATIN SMALL LETTER U WITH DIAERESIS}", "-", "- "),
        *("https://crm.example/unsubscribe/token", f"https://x.example/{'a' * LONGEST_URL}"),
    ],
)
def test_what_cannot_be_counted_safely_is_left_as_it_is(url: str) -> None:
    assert tracked(SETTINGS, 1, 1, url) == url


@pytest.mark.requirement("AUTO-06")
@given(position=st.integers(0, 200), letter=st.sampled_from(ascii_letters + digits + "-_."))
def test_no_other_text_is_a_link_of_ours(position: int, letter: str) -> None:
    """The last letter of base64 holds bits that say nothing; it must not be free either."""
    token = token_of(tracked(SETTINGS, 3, 77, URL))
    place = position % len(token)
    changed = token[:place] + letter + token[place + 1 :]
    found = read_link(SETTINGS, changed)
    assert found is None if changed != token else found == Link(3, 77, URL)


@pytest.mark.requirement("AUTO-06")
@given(token=st.text(max_size=80))
def test_nonsense_is_refused_without_an_error(token: str) -> None:
    assert read_link(SETTINGS, token) is None


@pytest.mark.requirement("AUTO-06")
def test_another_installation_s_links_and_unsubscribe_tokens_do_not_open_here() -> None:
    theirs = SETTINGS.model_copy(update={"secret_key": SecretStr("x" * 40)})
    assert read_link(SETTINGS, token_of(tracked(theirs, 3, 77, URL))) is None
    assert read_link(SETTINGS, "a" * 5000) is None


@pytest.mark.requirement("AUTO-06")
def test_links_signed_with_a_key_that_was_replaced_go_on_working() -> None:
    now = SETTINGS.model_copy(
        update={
            "secret_key": SecretStr("n" * 40),
            "previous_secret_keys": (SETTINGS.secret_key,),
        }
    )
    assert read_link(now, token_of(tracked(SETTINGS, 3, 77, URL))) == Link(3, 77, URL)
