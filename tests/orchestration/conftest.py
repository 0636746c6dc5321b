import os
from collections.abc import Iterator

import pytest

from core.settings import Settings
from orchestration.shared import runtime


@pytest.fixture
def process_environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment a code server would have, pointing at the test database."""
    values = {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "ECOMCRM_SECRET_KEY": settings.secret_key.get_secret_value(),
        "ECOMCRM_HOME": os.fspath(settings.home),
        "ECOMCRM_SHOPIFY_BASE_URL": settings.shopify_base_url,
        "ECOMCRM_RESEND_BASE_URL": settings.resend_base_url,
        "RESEND_API_KEY": "re_test",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    caches = (runtime.process_settings, runtime.process_session_factory, runtime.shopify_client)
    for cached in caches:
        cached.cache_clear()
    yield
    runtime.process_session_factory().kw["bind"].dispose()
    for cached in caches:
        cached.cache_clear()
