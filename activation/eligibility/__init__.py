"""May this mail leave, now? Asked when a message is created, when it is frozen, and once more right
before the first attempt.

    facts    all that decides, read for a whole batch at once
    checks   the rules, pure, in the order in which they decide: `decide` and, to explain, `examine`
    turns    one worker at a time at an address, so that caps hold
    batch    both together
    rules    what a shop allows: caps and quiet hours; `flows` says which are for which flow

Marketing mail needs permission, so every doubt waits or skips and none sends.
"""

from activation.eligibility.addresses import is_address
from activation.eligibility.batch import decide_all
from activation.eligibility.checks import Check, Examined, decide, examine
from activation.eligibility.decisions import Decision, Defer, Send, Skip
from activation.eligibility.facts import Facts, Stage, Subject, load_facts

__all__ = [
    "Check",
    "Decision",
    "Defer",
    "Examined",
    "Facts",
    "Send",
    "Skip",
    "Stage",
    "Subject",
    "decide",
    "decide_all",
    "examine",
    "is_address",
    "load_facts",
]
