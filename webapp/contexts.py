"""What each template may use: one frozen dataclass per template, in which everything is ready to
print. Templates compute nothing; tests/webapp/test_templates.py renders every one of these.
"""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, kw_only=True)
class Template:
    """Base: the template that shows it."""

    template: ClassVar[str]


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A point in time as people read it, with the exact one behind it."""

    relative: str
    absolute: str
    iso: str


@dataclass(frozen=True, kw_only=True)
class Amount:
    """A number as printed, and exactly."""

    text: str
    exact: str


# ---------------------------------------------------------------- errors, login


@dataclass(frozen=True, kw_only=True)
class ErrorPage(Template):
    template: ClassVar[str] = "error.html"
    title: str
    status: int
    what: str
    next: str
    has_overview: bool
    request_id: str


@dataclass(frozen=True, kw_only=True)
class LoginPage(Template):
    template: ClassVar[str] = "login.html"
    title: str = "Log in"
    email: str = ""
    problem: str | None = None
    csrf_token: str


# ---------------------------------------------------------------- pages for a shop's customers


@dataclass(frozen=True, kw_only=True)
class BrandLook:
    """The shop as its customers know it; colours are `#rrggbb`, an address empty where unset."""

    name: str
    postal_address: str
    logo_url: str
    logo_dark_url: str
    logo_width: str
    accent: str
    accent_text: str
    dark_accent: str
    dark_accent_text: str


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A box to tick or a point to choose; `is_of_mail`: the mail whose link was used is of it."""

    value: str
    text: str
    is_wanted: bool = False
    is_of_mail: bool = False


@dataclass(frozen=True, kw_only=True)
class LeavingWords:
    """What the buttons say, as the ledger of consent keeps it."""

    leave: str
    undo: str
    choose: str


@dataclass(frozen=True, kw_only=True)
class UnsubscribePage(Template):
    """`state`: ask, done or undone. `address` is masked: a mail may have been passed on; None for
    somebody who was erased. `is_at_shop`: they left at the shop and not here.
    """

    template: ClassVar[str] = "unsubscribe.html"
    title: str
    state: str
    brand: BrandLook
    address: str | None
    note: str | None = None
    can_undo: bool
    is_at_shop: bool = False
    wordings: LeavingWords
    action: str
    undo_action: str
    reason_action: str
    choices_action: str
    reasons: tuple[Choice, ...]
    flows: tuple[Choice, ...]
    max_words: int


@dataclass(frozen=True, kw_only=True)
class ConfirmingWords:
    """What somebody agrees to, and the button, as the ledger of consent keeps it."""

    agreement: str
    confirm: str


@dataclass(frozen=True, kw_only=True)
class ConfirmPage(Template):
    """`state`: ask, done or closed."""

    template: ClassVar[str] = "confirm.html"
    title: str
    state: str
    brand: BrandLook
    address: str
    wordings: ConfirmingWords
    action: str


# ---------------------------------------------------------------- overview


@dataclass(frozen=True, kw_only=True)
class ShopLink:
    name: str
    url: str
    is_current: bool


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """`face`: idle, running, stale, failed or never."""

    face: str
    text: str
    moment: Moment | None


@dataclass(frozen=True, kw_only=True)
class Alert:
    """`level`: error, warning or info. What happened; what is safe and what to do.

    `url` and `action`: where it can be done, and what the link says.
    """

    level: str
    title: str
    text: str
    url: str | None = None
    action: str = ""


@dataclass(frozen=True, kw_only=True)
class SyncRow:
    state: str
    label: str
    started: Moment
    took: str
    counts: str
    rejected: str | None
    note: str | None


@dataclass(frozen=True, kw_only=True)
class WelcomeFlow:
    is_known: bool
    is_active: bool
    label: str
    since: Moment | None
    waiting: str
    sent: str
    skipped: str


@dataclass(frozen=True, kw_only=True)
class StatusPart(Template):
    template: ClassVar[str] = "overview/_status.html"
    freshness: Freshness
    alerts: tuple[Alert, ...]
    flow: WelcomeFlow
    syncs: tuple[SyncRow, ...]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """`value` None: not counted yet."""

    label: str
    value: Amount | None
    caption: str
    trend: str | None
    trend_hint: str


@dataclass(frozen=True, kw_only=True)
class SegmentRow:
    """`width`: length of the bar as a percentage of the longest."""

    key: str
    name: str
    hint: str
    count: str
    share: str
    width: str
    change: str
    change_hint: str


@dataclass(frozen=True, kw_only=True)
class FiguresPart(Template):
    """`empty`: why there are no segments yet, in words; None once there are."""

    template: ClassVar[str] = "overview/_figures.html"
    figures: tuple[Figure, ...]
    segments: tuple[SegmentRow, ...]
    segments_caption: str
    note: str | None
    empty: str | None


@dataclass(frozen=True, kw_only=True)
class MessageRow:
    """`tone`: good, waiting, quiet or bad, the colour of the chip's dot."""

    at: Moment
    customer: str
    flow: str
    subject: str
    is_written: bool
    state: str
    tone: str
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class MessagesPart(Template):
    template: ClassVar[str] = "overview/_messages.html"
    messages: tuple[MessageRow, ...]
    empty: str


@dataclass(frozen=True, kw_only=True)
class OverviewPage(Template):
    template: ClassVar[str] = "overview/page.html"
    title: str
    email: str
    csrf_token: str
    shop_id: int
    shop_name: str
    shop_domain: str
    is_sandbox: bool
    shops: tuple[ShopLink, ...]
    status: StatusPart
    figures: FiguresPart
    messages: MessagesPart


@dataclass(frozen=True, kw_only=True)
class HeldPage(Template):
    """What the data gate holds; `reason` None: nothing. `seen` tells one hold from another."""

    template: ClassVar[str] = "held.html"
    title: str = "Segments held back"
    email: str
    csrf_token: str
    shop_id: int
    shop_name: str
    reason: str | None
    advice: str = ""
    since: Moment | None
    seen: str
    may_accept: bool


@dataclass(frozen=True, kw_only=True)
class NoShopPage(Template):
    template: ClassVar[str] = "overview/no_shop.html"
    title: str = "Overview"
    email: str
    csrf_token: str
