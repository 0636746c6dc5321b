"""The sandbox, asked over HTTP: what only its control pages can do or know."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import httpx

from core.errors import PermanentError, TransientError
from core.paths import PROJECT_ROOT


class SandboxApi:
    """Client of one running sandbox; a context manager."""

    def __init__(self, url: str, *, timeout: float = 300.0) -> None:
        self._client = httpx.Client(base_url=url, timeout=timeout, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def load(self, folder: Path, *, replace: bool = False, if_absent: bool = False) -> None:
        """Load a shop folder. PermanentError says what is wrong with it."""
        body: dict[str, Any] = {"folder": str(folder.resolve())}
        flags = {"replace": replace, "if_absent": if_absent}
        self._post("/_sandbox/shops", body | {name: True for name, on in flags.items() if on})

    def shop(self, domain: str) -> dict[str, Any]:
        """What the shop consists of: counts of customers and orders among them."""
        known = self._answer(lambda: self._client.get("/_sandbox/shops"))["shops"]
        found = [shop for shop in known if shop["domain"] == domain]
        if not found:
            raise PermanentError(f"The sandbox plays no shop {domain}.")
        return dict(found[0])

    def play_orders(self, domain: str, *, per_hour: float) -> None:
        """Have people buy, return and leave at that pace; 0 stops it."""
        self._post(f"/_sandbox/shops/{domain}/simulator", {"orders_per_hour": per_hour})

    def play_scenario(self, domain: str, **options: object) -> dict[str, Any]:
        """Play the orders of the smoke test; returns how many of each kind."""
        return self._post(f"/_sandbox/shops/{domain}/scenario", options)

    def oracle(self, domain: str, *, since: str) -> dict[str, Any]:
        """Which mails were owed since then, which were forbidden, and what was accepted."""
        params = {"flow": "welcome", "since": since}
        return self._answer(
            lambda: self._client.get(f"/_sandbox/shops/{domain}/oracle", params=params)
        )

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._answer(lambda: self._client.post(path, json=body))

    def _answer(self, call: Any) -> dict[str, Any]:
        try:
            response: httpx.Response = call()
        except httpx.HTTPError as error:
            raise TransientError(
                f"The sandbox does not answer ({error}); is `ecomcrm demo` running?"
            ) from error
        if response.is_error:
            raise PermanentError(f"The sandbox refused: {_reason(response)}")
        answer: dict[str, Any] = response.json()
        return answer


def shop_domain(folder: Path) -> str:
    """The domain of the shop in a folder. PermanentError when it is no shop folder."""
    file = folder / "shop.json"
    try:
        return str(json.loads(file.read_text())["domain"])
    except FileNotFoundError:
        raise PermanentError(f"{folder} is no shop folder: it has no shop.json.") from None
    except (ValueError, KeyError, TypeError):
        raise PermanentError(f"{file} is not JSON with a domain in it.") from None


def run_data_tool(*arguments: str) -> None:
    """`python -m sandbox <arguments>`; PermanentError with what it said when it fails."""
    result = subprocess.run(
        [sys.executable, "-m", "sandbox", *arguments],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise PermanentError(f"sandbox {arguments[0]} failed:\n{result.stderr.strip()}")


def _reason(response: httpx.Response) -> str:
    try:
        body = response.json()
    except ValueError:
        return f"{response.status_code} {response.text[:300]}"
    return str(body.get("error") or body.get("message") or body)
