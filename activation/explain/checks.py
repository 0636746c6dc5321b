"""What the checks of eligibility said of one mail.

`decide` stops at the first check that refuses and only its reason is kept. So of a mail that was
decided on it is worked out: those before the one that gave the reason passed, those after it were
not asked. Where two checks give the same reason and nothing tells which it was, both are `unclear`.
Of a mail that waits `examine` is asked now.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from activation.eligibility import Check, Defer, Examined, Skip
from activation.eligibility.checks import CHECKS
from activation.explain import words
from activation.explain.shapes import CheckPart, CheckResult
from core.models.enums import SkipReason

ORDER: Final = tuple(check for check, _ in CHECKS)

# Which checks may have given the reason; the first that holds in `refusers`.
GIVES: Final[Mapping[str, tuple[Check, ...]]] = {
    SkipReason.AUTOMATION_OFF: (Check.AUTOMATION_IS_ON,),
    SkipReason.EXITED: (Check.ENTRY_HOLDS, Check.IS_CONFIRMED),
    SkipReason.CUSTOMER_DELETED: (Check.CUSTOMER_EXISTS,),
    SkipReason.TOO_LATE: (Check.IN_TIME, Check.NOT_QUIET, Check.WITHIN_CAPS),
    SkipReason.SUPPRESSED: (Check.NOT_SUPPRESSED,),
    SkipReason.UNSUBSCRIBED: (Check.NOT_UNSUBSCRIBED_HERE, Check.IS_SUBSCRIBED),
    SkipReason.INVALID_ADDRESS: (Check.ADDRESS_IS_VALID,),
    SkipReason.CONSENT_UNKNOWN: (Check.CONSENT_IS_KNOWN,),
    SkipReason.NO_ADDRESS: (Check.CONSENT_IS_KNOWN, Check.HAS_ADDRESS),
    SkipReason.NOT_SUBSCRIBED: (Check.IS_SUBSCRIBED,),
    SkipReason.OPTED_OUT: (Check.WANTS_THIS_FLOW,),
    SkipReason.HOLDOUT: (),
}


def passed() -> tuple[CheckPart, ...]:
    """Of a mail that was frozen: every check let it through."""
    return tuple(_part(check, CheckResult.PASSED) for check in ORDER)


def not_kept() -> tuple[CheckPart, ...]:
    """Of a mail that was withheld whatever they said."""
    return tuple(_part(check, CheckResult.NOT_KEPT) for check in ORDER)


def refused(reason: str, among: Sequence[Check] = ()) -> tuple[CheckPart, ...]:
    """Of a mail that was skipped. `among`: the checks it may have been, where more is known than
    that they give this reason.
    """
    candidates = tuple(among) or GIVES.get(reason, ())
    if not candidates:
        return not_kept()
    first = min(ORDER.index(check) for check in candidates)
    last = max(ORDER.index(check) for check in candidates)
    parts = []
    for place, check in enumerate(ORDER):
        if place < first:
            result = CheckResult.PASSED
        elif place > last:
            result = CheckResult.NOT_ASKED
        elif len(candidates) == 1:
            result = CheckResult.REFUSED
        else:
            result = CheckResult.UNCLEAR
        is_candidate = check in candidates
        parts.append(_part(check, result, reason=reason if is_candidate else None))
    return tuple(parts)


def examined(asked: Sequence[Examined]) -> tuple[CheckPart, ...]:
    """Of a mail that waits, or of one that is only thought of: all of them, asked now."""
    return tuple(_examined(each) for each in asked)


def _examined(each: Examined) -> CheckPart:
    match each.refusal:
        case None:
            return _part(each.check, CheckResult.PASSED)
        case Skip(reason=reason):
            return _part(each.check, CheckResult.REFUSED, reason=reason.value)
        case Defer(reason=reason, until=until):
            part = _part(each.check, CheckResult.WAITS, reason=reason.value)
            return CheckPart(part.check, part.result, part.words, part.reason, until)


def _part(check: Check, result: CheckResult, reason: str | None = None) -> CheckPart:
    fine, not_fine = words.CHECKS.get(check, (check.value.replace("_", " "),) * 2)
    said = fine if result is CheckResult.PASSED else not_fine
    if result is CheckResult.NOT_ASKED:
        said = "not asked, because a check before it refused"
    elif result is CheckResult.NOT_KEPT:
        said = "asked, but it made no difference"
    elif result is CheckResult.UNCLEAR:
        said = "this one or one near it refused; which was not kept"
    return CheckPart(check.value, result, said, reason)
