"""Which provider this installation sends by: Resend, or any relay by SMTP."""

from typing import TypeAlias

from activation.provider.resend import ResendProvider
from activation.provider.smtp import SmtpProvider
from core.settings import Settings

AnyProvider: TypeAlias = ResendProvider | SmtpProvider


def provider_of(settings: Settings) -> AnyProvider:
    """To be closed by whoever opens it: a context manager."""
    if settings.mail_provider == "smtp":
        return SmtpProvider(settings.smtp_url)
    return ResendProvider.from_settings(settings)
