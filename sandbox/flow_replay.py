"""The five flows played anew over a shop's story: which mail was owed to whom, and when.

Time goes from look to look, as the product was let look. What happened before a look is known at
it; a night is a look at which all scores are made anew. Everything else is the published rules.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from sandbox import flow_facts as told
from sandbox.flow_facts import Fact, Story
from sandbox.flow_rules import (
    CAPS,
    FLOWS,
    FOREVER,
    Flow,
    days_later,
    is_held_out,
    is_quiet,
    quiet_is_over,
    spread,
)
from sandbox.flow_scores import Buyer, Cuts, cuts_of

SUBSCRIBED = "SUBSCRIBED"


@dataclass(frozen=True)
class Owed:
    """One mail: due from then on, and to leave at the look `at`."""

    flow: str
    customer: int
    key: str
    at: float


@dataclass
class _Person:
    """`stay`: since when they are in their segment; None until they were in another."""

    consent: str = ""
    is_gone: bool = False
    orders: dict[str, Fact] = field(default_factory=dict)
    carts: dict[str, float] = field(default_factory=dict)
    segment: str | None = None
    entered_at: float = 0.0
    has_entered: bool = False
    mails: list[float] = field(default_factory=list)

    @property
    def last(self) -> Fact | None:
        return max(self.orders.values(), key=lambda o: (o.processed_at, int(o.key)), default=None)

    @property
    def first(self) -> Fact | None:
        return min(self.orders.values(), key=lambda o: (o.processed_at, int(o.key)), default=None)

    @property
    def buyer(self) -> Buyer | None:
        last = self.last
        if last is None:
            return None
        spent = sum((order.spent for order in self.orders.values()), start=last.spent * 0)
        return Buyer(len(self.orders), spent, last.processed_at)


@dataclass
class _Entry:
    """`held_until`: nobody looks at what waits for a cap or the morning before that."""

    flow: Flow
    customer: int
    key: str
    moment: float
    since: float
    held_until: float = 0.0

    @property
    def due(self) -> float:
        return self.moment + self.flow.delay

    @property
    def latest(self) -> float:
        return self.due + self.flow.late


class Replay:
    """`on`: since when each flow is on; a flow that is not named is off."""

    def __init__(self, story: Story, *, on: dict[str, float], nights: Collection[float]) -> None:
        self._story, self._on, self._nights = story, on, set(nights)
        self._zone = ZoneInfo(story.zone)
        self._people: dict[int, _Person] = defaultdict(_Person)
        self._touched: set[int] = set()
        self._cuts: Cuts | None = None
        self._was_scored = False
        self._waiting: list[_Entry] = []
        self._entered: dict[tuple[str, int], dict[str, float]] = defaultdict(dict)
        self._next = 0

    def owed(self, looks: Sequence[float]) -> Iterator[Owed]:
        for at in sorted({*looks, *self._nights}):
            self._take_in(at)
            self._score(at)
            self._enrol(at)
            yield from self._send(at)

    def buyer(self, customer: int) -> Buyer | None:
        """What the customer has bought by the last look."""
        return self._people[customer].buyer

    # ------------------------------------------------------------------ what is known

    def _take_in(self, at: float) -> None:
        facts = self._story.facts
        while self._next < len(facts) and facts[self._next].at <= at:
            self._take(facts[self._next])
            self._next += 1

    def _take(self, fact: Fact) -> None:
        person = self._people[fact.customer]
        match fact.what:
            case told.ORDERED:
                person.orders[fact.key] = fact
                self._touched.add(fact.customer)
            case told.UNCOUNTED:
                for owner, each in self._people.items():
                    if each.orders.pop(fact.key, None):
                        self._touched.add(owner)
            case told.CHECKOUT:
                person.carts[fact.key] = fact.at
            case told.CHECKOUT_OVER:
                person.carts.pop(fact.key, None)
            case told.CONSENT:
                person.consent = fact.key
            case told.MERGED_INTO:
                self._people[int(fact.key)].orders |= person.orders
                person.orders = {}
                self._touched.add(int(fact.key))
            case told.GONE:
                person.is_gone = True

    def _score(self, at: float) -> None:
        is_night = at in self._nights
        if is_night:
            buyers = [p.buyer for p in self._people.values() if not p.is_gone]
            self._cuts = cuts_of([buyer for buyer in buyers if buyer is not None])
        if self._cuts is None:
            return
        for number in self._people if is_night else self._touched:
            self._move(self._people[number], self._cuts, at)
        self._touched.clear()
        self._was_scored = True

    def _move(self, person: _Person, cuts: Cuts, at: float) -> None:
        """The first scores of a shop are where its people are, nobody entered them."""
        segment = cuts.segment(person.buyer)
        if segment != person.segment:
            before = person.segment
            person.segment, person.entered_at = segment, at
            person.has_entered = self._was_scored and before is not None

    # ------------------------------------------------------------------ who enters

    def _enrol(self, at: float) -> None:
        for flow in FLOWS:
            since = self._on.get(flow.key)
            if since is None or not self._was_scored:
                continue
            for number, person in self._people.items():
                if not person.is_gone:
                    for entry in self._moments(flow, number, person, at):
                        if since <= entry.moment and self._may_enter(entry):
                            self._enter(entry, at)

    def _moments(self, flow: Flow, number: int, person: _Person, at: float) -> Iterator[_Entry]:
        """What the customer has come to by now, whether it starts the flow anew or not."""
        first = person.first
        if flow.kind == "first_order" and first is not None:
            yield _Entry(flow, number, first.key, first.processed_at, first.processed_at)
        if flow.kind == "checkout":
            yield from self._carts(flow, number, person, at)
        if flow.kind == "entered" and person.segment in flow.segments and person.has_entered:
            yield _Entry(flow, number, str(person.entered_at), person.entered_at, 0.0)
        if flow.kind == "silence":
            yield from self._silences(flow, number, person, at)

    def _carts(self, flow: Flow, number: int, person: _Person, at: float) -> Iterator[_Entry]:
        for token, left_at in person.carts.items():
            moment = float(int(left_at))  # Shopify cuts times to the second
            if moment + flow.delay <= at and not _ordered(person, moment, strictly=False):
                yield _Entry(flow, number, token, moment, moment)

    def _silences(self, flow: Flow, number: int, person: _Person, at: float) -> Iterator[_Entry]:
        last = person.last
        if last is not None and person.segment in flow.segments:
            over = days_later(last.processed_at, flow.days, self._zone)
            moment = max(over, person.entered_at)
            if moment <= at:
                yield _Entry(flow, number, last.key, moment, last.processed_at)

    def _may_enter(self, entry: _Entry) -> bool:
        """Once per key; not again too soon. Who comes too late has entered, and gets nothing."""
        before = self._entered[entry.flow.key, entry.customer]
        if entry.key in before:
            return False
        if entry.flow.again == FOREVER:
            return not before
        return not before or entry.moment >= max(before.values()) + entry.flow.again

    def _enter(self, entry: _Entry, at: float) -> None:
        self._entered[entry.flow.key, entry.customer][entry.key] = entry.moment
        is_withheld = is_held_out(self._story.domain, entry.flow.key, entry.customer)
        if at <= entry.latest and not is_withheld:
            self._waiting.append(entry)

    # ------------------------------------------------------------------ what leaves

    def _send(self, at: float) -> Iterator[Owed]:
        still: list[_Entry] = []
        for entry in sorted(self._waiting, key=lambda e: (e.flow.priority, e.due)):
            if max(entry.due, entry.held_until) > at:
                still.append(entry)
            elif self._may_leave(entry, at):
                entry.held_until = self._free(entry, at)
                if entry.held_until == at:
                    self._people[entry.customer].mails.append(at)
                    yield Owed(entry.flow.key, entry.customer, entry.key, at)
                elif entry.held_until <= entry.latest:
                    still.append(entry)
        self._waiting = still

    def _may_leave(self, entry: _Entry, at: float) -> bool:
        person, flow = self._people[entry.customer], entry.flow
        if at > entry.latest or person.is_gone or person.consent != SUBSCRIBED:
            return False
        match flow.kind:
            case "first_order":
                return entry.key in person.orders
            case "checkout":
                is_left = entry.key in person.carts
                return is_left and not _ordered(person, entry.since, strictly=False)
            case "silence":
                is_silent = not _ordered(person, entry.since, strictly=True)
                return is_silent and person.segment in flow.segments
        return person.segment in flow.segments

    def _free(self, entry: _Entry, at: float) -> float:
        """From when on quiet hours and caps let it leave. The caps are asked only when it is not
        quiet. What is held until a morning leaves at the turn of its address.
        """
        free = at
        if not self._is_quiet(entry, at):
            mails = self._people[entry.customer].mails
            free = max([at, *(mails[-most] + span for most, span in CAPS if len(mails) >= most)])
        if not self._is_quiet(entry, free):
            return free
        over = quiet_is_over(free, self._zone)
        turn = over + spread(self._story.addresses.get(entry.customer, ""))
        return over if over > entry.latest else min(turn, entry.latest)

    def _is_quiet(self, entry: _Entry, at: float) -> bool:
        return entry.flow.is_quiet and is_quiet(at, self._zone)


def _ordered(person: _Person, since: float, *, strictly: bool) -> bool:
    return any(
        order.processed_at > since or (order.processed_at == since and not strictly)
        for order in person.orders.values()
    )
