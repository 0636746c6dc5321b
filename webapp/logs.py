"""Log lines of the web process: one per request, each with its request id, none with a person.

Addresses are logged by route (`/unsubscribe/{token}`), never as they came: a token or a query
string names someone.
"""

import logging
import sys
from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="-")

FORMAT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"


class _RequestIdFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


def configure_logging(level: str) -> None:
    """Everything to stderr, for the supervisor to keep."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(FORMAT))
    handler.addFilter(_RequestIdFilter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Says every outgoing address at INFO.
    logging.getLogger("httpx").setLevel(logging.WARNING)
