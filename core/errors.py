"""Errors a caller can act on.

    EcomCRMError
    ├── TransientError   the same call may succeed later; may carry `retry_after`
    └── PermanentError   it will not, until someone changes something

Adapters map what their libraries raise to one of these two; business code branches on nothing
finer.
"""

from datetime import timedelta


class EcomCRMError(Exception):
    """Base of all errors this project raises on purpose."""


class TransientError(EcomCRMError):
    """Try again later."""

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class PermanentError(EcomCRMError):
    """Trying again changes nothing: the message says what to do."""


class SettingsError(PermanentError):
    """One or more settings are missing or malformed; the message names every one."""
