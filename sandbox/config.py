"""What `python -m sandbox serve` needs from its environment, read once at start."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

REQUIRED = (
    "SANDBOX_CLIENT_ID",
    "SANDBOX_CLIENT_SECRET",
    "SANDBOX_RESEND_API_KEY",
    "SANDBOX_RESEND_WEBHOOK_SECRET",
)
OPTIONAL = ("SANDBOX_RESEND_WEBHOOK_URL", "SANDBOX_COMPLIANCE_URL")


class ConfigError(ValueError):
    """Names every variable that is missing or malformed, all at once."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """`resend_webhook_url` None: events are recorded and shown, but sent nowhere.

    `compliance_url`: where the app's own configuration would send the compliance topics; None for
    an app that names no address, which is then told of no request.
    """

    client_id: str
    client_secret: str
    resend_api_key: str
    resend_webhook_secret: str
    resend_webhook_url: str | None = None
    compliance_url: str | None = None


def from_environment(environ: Mapping[str, str]) -> Config:
    """The configuration, or ConfigError with one line per wrong variable."""
    wrong = [f"{name} is not set" for name in REQUIRED if not environ.get(name)]
    secret = environ.get("SANDBOX_RESEND_WEBHOOK_SECRET", "")
    if secret and not _is_svix_secret(secret):
        wrong.append("SANDBOX_RESEND_WEBHOOK_SECRET must be whsec_ followed by base64")
    if wrong:
        raise ConfigError("\n".join(wrong))
    return Config(
        client_id=environ["SANDBOX_CLIENT_ID"],
        client_secret=environ["SANDBOX_CLIENT_SECRET"],
        resend_api_key=environ["SANDBOX_RESEND_API_KEY"],
        resend_webhook_secret=secret,
        resend_webhook_url=environ.get("SANDBOX_RESEND_WEBHOOK_URL") or None,
        compliance_url=environ.get("SANDBOX_COMPLIANCE_URL") or None,
    )


def _is_svix_secret(secret: str) -> bool:
    if not secret.startswith("whsec_"):
        return False
    try:
        return bool(base64.b64decode(secret.removeprefix("whsec_"), validate=True))
    except binascii.Error:
        return False
