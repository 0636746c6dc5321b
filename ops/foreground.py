"""A command that stays in the foreground until Ctrl-C, and keeps the stack alive meanwhile."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

from core.errors import TransientError
from ops.orphans import stop_orphans
from ops.progress import Progress
from ops.stack import Stack

_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn the first stop signal into KeyboardInterrupt and ignore the later ones.

    The handlers are set anew, because a shell that starts us in the background has SIGINT
    ignored, and so would every process that we start.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in _STOP_SIGNALS:
            signal.signal(number, _already_stopping)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in _STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def hold(stack: Stack, progress: Progress) -> None:
    """Return when someone else stops the stack; bring it back when its supervisor dies.

    Single programs are brought back by the supervisor; what it has given up is asked for again.
    """
    pids: dict[str, int] = {}
    while True:
        time.sleep(1)
        if stack.process is not None and (code := stack.process.poll()) is not None:
            if code == 0:
                progress.say("Stopped by `ecomcrm down`")
                return
            progress.say("The supervisor died; starting everything again")
            stop_orphans(stack.world.home.path)
            stack.start_all()
            pids = {}
        pids = _watch_programs(stack, progress, pids)


def _watch_programs(stack: Stack, progress: Progress, before: dict[str, int]) -> dict[str, int]:
    now: dict[str, int] = dict(before)
    for name, info in stack.supervisor.states().items():
        if info["statename"] == "FATAL":
            progress.say(f"{name} keeps failing; trying again. {stack.log_tail(name, lines=3)}")
            with suppress(TransientError):  # it came back by itself meanwhile, or at the next look
                stack.supervisor.start(name)
        elif info["statename"] == "RUNNING":
            if before.get(name, info["pid"]) != info["pid"]:
                progress.say(f"{name}: was gone, is back")
            now[name] = info["pid"]
    return now


def _already_stopping(_number: int, _frame: FrameType | None) -> None:
    """Stopping takes seconds and must not be cut short: data would survive, processes too."""
