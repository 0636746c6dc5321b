"""Clicks on their way into the database: nobody who follows a link waits for it.

A reader is sent on at once; a thread writes what came meanwhile in one transaction. While the
database is away clicks wait here, so many of them, and the oldest are dropped: a click lost is
better than a link that does not work. What waits when the process is killed (a fifth of a second's,
all being well) is lost too.
"""

import logging
import threading
from collections import deque
from typing import Final

from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from activation.events import own
from activation.events.engagements import Seen
from core.database import SessionFactory

PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 10.0
MOST_WAITING: Final = 20_000
LARGEST_WRITE: Final = 500
_AWAY: Final = (OperationalError, InterfaceError, PoolTimeoutError)

_log = logging.getLogger(__name__)


class ClickBuffer:
    """Safe to use from many threads. The writing thread starts with the first click."""

    def __init__(self, factory: SessionFactory) -> None:
        self._factory = factory
        self._waiting = deque[Seen](maxlen=MOST_WAITING)
        self._lock = threading.Lock()  # of the writing, so that a click is written once
        self._woken = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def add(self, visit: own.Visit) -> None:
        """Returns at once."""
        if len(self._waiting) == MOST_WAITING:
            _log.warning("the database has been away for long: the oldest click is dropped")
        self._waiting.append(own.seen(visit))
        self._woken.set()
        self._start()

    def flush(self) -> bool:
        """Write what waits; False when the database did not take it, and it waits on."""
        with self._lock:
            while self._waiting:
                count = min(len(self._waiting), LARGEST_WRITE)
                taken = [self._waiting.popleft() for _ in range(count)]
                try:
                    own.record(self._factory, taken)
                except _AWAY as error:
                    self._waiting.extendleft(reversed(taken))
                    _log.warning("%d clicks wait: %s", len(taken), type(error).__name__)
                    return False
                except SQLAlchemyError as error:  # would not be taken the next time either
                    _log.error("%d clicks are dropped: %s", len(taken), type(error).__name__)
        return True

    def close(self) -> None:
        """Write what waits, once."""
        self._closing.set()
        self._woken.set()
        if self._thread is not None:
            self._thread.join()
        self.flush()

    def _start(self) -> None:
        if self._thread is not None:
            return
        with self._starting:
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._run, name="clicks", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        pause = PAUSE
        while not self._closing.is_set():
            self._woken.wait()
            self._woken.clear()
            self._closing.wait(pause)  # what comes meanwhile is written together
            if self.flush():
                pause = PAUSE
            else:
                pause = min(2 * pause, LONGEST_PAUSE)
                self._woken.set()
