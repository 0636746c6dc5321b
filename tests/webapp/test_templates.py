"""Every page and part, rendered with a context of each kind under StrictUndefined (S43)."""

import re
from dataclasses import fields, replace
from html.parser import HTMLParser

import pytest

from webapp import contexts
from webapp.assets import Assets
from webapp.contexts import (
    Alert,
    Amount,
    BrandLook,
    Choice,
    ConfirmingWords,
    ConfirmPage,
    ErrorPage,
    Figure,
    FiguresPart,
    Freshness,
    HeldPage,
    LeavingWords,
    LoginPage,
    MessageRow,
    MessagesPart,
    Moment,
    NoShopPage,
    OverviewPage,
    SegmentRow,
    ShopLink,
    StatusPart,
    SyncRow,
    Template,
    UnsubscribePage,
    WelcomeFlow,
)
from webapp.rendering import TEMPLATES, render_text

MARK = "<i>&'\""
WHEN = Moment(relative="3 min ago", absolute="20 Nov 2026, 12:00:00 GMT", iso="2026-11-20T12:00:00")

STATUS = StatusPart(
    freshness=Freshness(face="idle", text="Synced 3 min ago", moment=WHEN),
    alerts=tuple(
        Alert(level=level, title=MARK, text=MARK, url=url, action=MARK)
        for level, url in (("error", None), ("warning", f"/held?{MARK}"), ("info", None))
    ),
    flow=WelcomeFlow(
        is_known=True,
        is_active=True,
        label="On",
        since=WHEN,
        waiting="7",
        sent="8",
        skipped="3",
    ),
    syncs=tuple(
        SyncRow(
            state=state,
            label=MARK,
            started=WHEN,
            took="12 s",
            counts="1 customer, 2 orders",
            rejected=MARK,
            note=MARK,
        )
        for state in ("completed", "running", "failed")
    ),
)
FIGURES = FiguresPart(
    figures=(
        Figure(
            label=MARK,
            value=Amount(text="3,012", exact="3,012"),
            caption=MARK,
            trend="+2%",
            trend_hint=MARK,
        ),
    ),
    segments=(
        SegmentRow(
            key="at-risk",
            name=MARK,
            hint=MARK,
            count="5",
            share="5%",
            width="50%",
            change="+1",
            change_hint=MARK,
        ),
    ),
    segments_caption=MARK,
    note=MARK,
    empty=MARK,
)
MESSAGES = MessagesPart(
    messages=(
        MessageRow(
            at=WHEN,
            customer=MARK,
            flow=MARK,
            subject=MARK,
            is_written=True,
            state="Skipped",
            tone="quiet",
            reason=MARK,
        ),
    ),
    empty=MARK,
)
OVERVIEW = OverviewPage(
    title=MARK,
    email=MARK,
    csrf_token=MARK,
    shop_id=1,
    shop_name=MARK,
    shop_domain=MARK,
    is_sandbox=True,
    shops=(
        ShopLink(name=MARK, url="/?shop=1", is_current=True),
        ShopLink(name=MARK, url="/?shop=2", is_current=False),
    ),
    status=STATUS,
    figures=FIGURES,
    messages=MESSAGES,
)
BRAND = BrandLook(
    name=MARK,
    postal_address=MARK,
    logo_url="https://cdn.example/logo.png",
    logo_dark_url="https://cdn.example/dark.png",
    logo_width="140",
    accent="#8a3b12",
    accent_text="#ffffff",
    dark_accent="#c0572a",
    dark_accent_text="#1a1a1a",
)
UNSUBSCRIBE = UnsubscribePage(
    title=MARK,
    state="ask",
    brand=BRAND,
    address=MARK,
    note=MARK,
    can_undo=True,
    wordings=LeavingWords(leave=MARK, undo=MARK, choose=MARK),
    action="/unsubscribe/t",
    undo_action="/unsubscribe/t/undo",
    reason_action="/unsubscribe/t/reason",
    choices_action="/unsubscribe/t/choices",
    reasons=(Choice(value="other", text=MARK),),
    flows=(
        Choice(value="1", text=MARK, is_wanted=True, is_of_mail=True),
        Choice(value="2", text=MARK),
    ),
    max_words=300,
)
CONFIRM = ConfirmPage(
    title=MARK,
    state="ask",
    brand=BRAND,
    address=MARK,
    wordings=ConfirmingWords(agreement=MARK, confirm=MARK),
    action="/confirm/t",
)

HELD = HeldPage(
    email=MARK,
    csrf_token=MARK,
    shop_id=1,
    shop_name=MARK,
    reason=MARK,
    since=WHEN,
    seen="2026-11-20T12:00:00+00:00",
    may_accept=True,
)

SAMPLES: tuple[Template, ...] = (
    ErrorPage(title=MARK, status=404, what=MARK, next=MARK, has_overview=True, request_id="0"),
    ErrorPage(title=MARK, status=404, what=MARK, next=MARK, has_overview=False, request_id="0"),
    LoginPage(csrf_token="t"),
    LoginPage(csrf_token="t", email=MARK, problem=MARK),
    UNSUBSCRIBE,
    replace(UNSUBSCRIBE, state="done"),
    replace(UNSUBSCRIBE, state="done", can_undo=False, is_at_shop=True, flows=(), note=None),
    replace(UNSUBSCRIBE, state="done", address=None, can_undo=False, flows=()),
    replace(UNSUBSCRIBE, state="undone", brand=replace(BRAND, logo_url="", logo_dark_url="")),
    *(replace(CONFIRM, state=state) for state in ("ask", "done", "closed")),
    STATUS,
    replace(
        STATUS,
        freshness=Freshness(face="never", text="Never synced", moment=None),
        alerts=(),
        flow=replace(STATUS.flow, is_active=False, since=None),
        syncs=(),
    ),
    *(
        replace(STATUS, freshness=replace(STATUS.freshness, face=face))
        for face in ("running", "stale", "failed")
    ),
    replace(STATUS, flow=replace(STATUS.flow, is_known=False, since=None)),
    FIGURES,
    replace(FIGURES, segments=(), note=None),
    replace(FIGURES, figures=(replace(FIGURES.figures[0], value=None, trend=None),)),
    replace(FIGURES, empty=None, figures=(replace(FIGURES.figures[0], trend=None),)),
    replace(FIGURES, segments=(replace(FIGURES.segments[0], change=""),)),
    MESSAGES,
    replace(MESSAGES, messages=()),
    replace(MESSAGES, messages=(replace(MESSAGES.messages[0], is_written=False, reason=None),)),
    OVERVIEW,
    replace(OVERVIEW, shops=OVERVIEW.shops[:1], is_sandbox=False),
    NoShopPage(email=MARK, csrf_token=MARK),
    HELD,
    replace(HELD, may_accept=False),
    replace(HELD, reason=None, since=None),
)
VOID = {"meta", "link", "input", "br", "hr", "img"}


class Balance(HTMLParser):
    """Fails on a tag that is closed out of order or left open, and on an id used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        identifier = dict(attrs).get("id")
        assert identifier not in self.ids, f"id {identifier} twice"
        if identifier:
            self.ids.add(identifier)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> out of order at {self.getpos()}"


def name(sample: Template) -> str:
    return type(sample).__name__


def render(sample: Template) -> str:
    return render_text(sample, assets=Assets(), nonce="nonce")


@pytest.mark.parametrize("sample", SAMPLES, ids=name)
def test_every_page_and_part_renders_whole_and_escaped(sample: Template) -> None:
    html = render(sample)
    balance = Balance()
    balance.feed(html)
    assert balance.open == []
    assert MARK not in html


def test_a_column_without_any_value_is_left_out() -> None:
    # A new shop's segments had an empty last column, its title glued to the one before.
    compared = FIGURES.segments[0]
    first_week = replace(compared, change="")
    assert "7 days" in render(replace(FIGURES, segments=(first_week, compared)))
    html = render(replace(FIGURES, segments=(first_week, first_week)))
    assert "7 days" not in html
    assert "change" not in html
    head, _, body = html.partition("<tbody>")
    assert len(re.findall(r"<t[hd]\b", head)) * 2 == len(re.findall(r"<t[hd]\b", body))


def test_every_context_has_a_sample() -> None:
    kinds = {
        kind
        for kind in vars(contexts).values()
        if isinstance(kind, type) and issubclass(kind, Template) and kind is not Template
    }
    assert {type(sample) for sample in SAMPLES} == kinds


def test_every_template_belongs_to_a_context_or_to_another_template() -> None:
    files = {str(path.relative_to(TEMPLATES)) for path in TEMPLATES.rglob("*.html")}
    sources = "".join((TEMPLATES / file).read_text() for file in files)
    used = set(re.findall(r'{% (?:extends|include|import) "([^"]+)"', sources))
    assert files == used | {type(sample).template for sample in SAMPLES}


def test_no_context_carries_what_no_template_prints() -> None:
    sources = "".join(path.read_text() for path in TEMPLATES.rglob("*.html"))
    unused = [
        f"{type(sample).__name__}.{field.name}"
        for sample in SAMPLES
        for field in fields(sample)
        if f"page.{field.name}" not in sources
    ]
    assert unused == []
