"""Holds the mailbox against what was owed: nothing missed, nothing twice, nothing forbidden."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from sandbox.flow_facts import CONSENT, GONE, Mail, Story
from sandbox.flow_replay import SUBSCRIBED, Owed, Replay
from sandbox.flow_rules import CAPS, FLOWS, is_held_out, is_quiet

_FLOWS = {flow.key: flow for flow in FLOWS}


@dataclass
class FlowVerdict:
    expected: int = 0
    accepted: int = 0
    twice: int = 0
    missed: int = 0
    forbidden: int = 0
    by_flow: dict[str, int] = field(default_factory=dict)
    details: list[dict[str, Any]] = field(default_factory=list)

    def report(self) -> dict[str, Any]:
        return dict(vars(self))


def flow_verdict(
    story: Story,
    *,
    on: dict[str, float],
    looks: Sequence[float],
    nights: Collection[float],
    patience: float = 60.0,
) -> FlowVerdict:
    """`patience`: seconds after the look it was owed at within which a mail must be accepted.

    Missed: owed and not accepted in time. Twice: accepted though the same entry's mail was already.
    Forbidden: accepted and not owed, or against consent, a cap or the quiet hours whatever was
    owed. Of who was merged only those last are looked at.
    """
    verdict = FlowVerdict()
    owed: dict[tuple[str, int], list[Owed]] = defaultdict(list)
    for each in Replay(story, on=on, nights=nights).owed(looks):
        if each.customer not in story.unsure:
            owed[each.flow, each.customer].append(each)
            verdict.expected += 1
            verdict.by_flow[each.flow] = verdict.by_flow.get(each.flow, 0) + 1
    done: dict[tuple[str, int], list[Owed]] = defaultdict(list)
    for mail, reason in _with_reasons(story):
        verdict.accepted += 1
        entry = mail.flow, mail.customer or 0
        due = [each for each in owed[entry] if each.at <= mail.at <= each.at + patience]
        if reason is not None:
            verdict.forbidden += 1
            verdict.details.append(_detail("forbidden", mail.flow, mail.customer, mail.at, reason))
        if due:
            owed[entry].remove(due[0])
            done[entry].append(due[0])
        elif reason is None and mail.customer not in story.unsure:
            is_second = bool(done[entry])
            verdict.twice += is_second
            verdict.forbidden += not is_second
            kind = "twice" if is_second else "forbidden"
            verdict.details.append(_detail(kind, mail.flow, mail.customer, mail.at, "not owed"))
    for left in owed.values():
        for each in left:
            verdict.missed += 1
            verdict.details.append(_detail("missed", each.flow, each.customer, each.at, each.key))
    return verdict


def _with_reasons(story: Story) -> Iterable[tuple[Mail, str | None]]:
    """Each mail, and what forbids it whatever was owed."""
    zone = ZoneInfo(story.zone)
    before: dict[int, list[float]] = defaultdict(list)
    for mail in sorted(story.mails, key=lambda mail: mail.at):
        yield mail, _forbids(story, mail, before, zone)
        if mail.customer is not None:
            before[mail.customer].append(mail.at)


def _forbids(
    story: Story, mail: Mail, before: dict[int, list[float]], zone: ZoneInfo
) -> str | None:
    flow, customer = _FLOWS.get(mail.flow), mail.customer
    if flow is None:
        return "no flow of this name is published"
    if customer is None:
        return "nobody had this address"
    consent, is_gone = "", False
    for fact in story.facts:
        if fact.customer == customer and fact.at <= mail.at:
            consent = fact.key if fact.what == CONSENT else consent
            is_gone = is_gone or fact.what == GONE
    sent = before[customer]
    reasons = {
        "the customer was gone": is_gone,
        f"consent was {consent}": consent != SUBSCRIBED,
        "the customer was held out": is_held_out(story.domain, flow.key, customer),
        "it was in the quiet hours": flow.is_quiet and is_quiet(mail.at, zone),
        "it was one too many": any(
            len([at for at in sent if at > mail.at - window]) >= most for most, window in CAPS
        ),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _detail(kind: str, flow: str, customer: int | None, at: float, reason: str) -> dict[str, Any]:
    return {"kind": kind, "flow": flow, "customer": customer, "at": at, "reason": reason}
