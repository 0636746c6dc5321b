"""The command itself, as a process that is started, killed and started again."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.sandbox.support import (
    DOMAIN,
    KEY,
    SECRET,
    WHSEC,
    Receiver,
    Running,
    document,
    wait_for,
)

ROOT = Path(__file__).parents[2]


@contextmanager
def process(
    state: Path, schema: Path, receiver: Receiver
) -> Iterator[tuple[subprocess.Popen[bytes], Running]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environ = os.environ | {
        "SANDBOX_CLIENT_ID": "cid",
        "SANDBOX_CLIENT_SECRET": SECRET,
        "SANDBOX_RESEND_API_KEY": KEY,
        "SANDBOX_RESEND_WEBHOOK_SECRET": WHSEC,
        "SANDBOX_RESEND_WEBHOOK_URL": f"{receiver.url}/resend",
    }
    command = [sys.executable, "-m", "sandbox", "serve", "--port", str(port)]
    command += ["--state", str(state), "--schema", str(schema)]
    with subprocess.Popen(command, cwd=ROOT, env=environ, stderr=subprocess.PIPE) as child:
        url = f"http://127.0.0.1:{port}"
        try:
            with httpx.Client(base_url=url, timeout=10, trust_env=False) as client:
                wait_for(lambda: _answers(client), seconds=30)
                yield child, Running(url, None, client, receiver)  # type: ignore[arg-type]  # far away
        finally:
            child.kill()


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").json()["status"] == "ok"
    except httpx.TransportError:
        return False


@pytest.mark.processes
def test_kill_9_loses_nothing_that_was_answered(
    shopify_schema_path: Path, receiver: Receiver, folder: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    with process(state, shopify_schema_path, receiver) as (child, before):
        assert before.load(folder).status_code == 201
        before.subscribe("ORDERS_CREATE")
        before.fault(webhook_off=True, resend_events_off=True, bulk_hold=True)
        placed = before.place(customer={"email": "new@example.com", "consent": "SUBSCRIBED"})
        mailed = before.send("new@example.com", key="k1").json()
        asked = {"query": document("bulk_customers").replace("$filter$", "")}
        job = before.data(document("bulk_operation_run"), asked)["bulkOperationRunQuery"]
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert receiver.received == []
    with process(state, shopify_schema_path, receiver) as (_, after):
        assert after.client.get("/_sandbox/faults").json()["webhook_off"] is True
        after.fault(webhook_off=False, resend_events_off=False, bulk_hold=False)
        wait_for(lambda: len(receiver.on("/resend")) == 2)
        (webhook,) = wait_for(lambda: receiver.on("/shopify"))
        assert webhook.headers["x-shopify-webhook-id"] == placed["webhook_id"]
        assert after.send("new@example.com", key="k1").json() == mailed
        verdict = after.oracle()
        assert (verdict["emails_expected"], verdict["emails_accepted"]) == (1, 1)
        poll = {"id": job["bulkOperation"]["id"]}
        wait_for(lambda: after.data(document("bulk_operation"), poll)["bulkOperation"]["url"])


@pytest.mark.processes
def test_a_signal_ends_it_cleanly(
    shopify_schema_path: Path, receiver: Receiver, tmp_path: Path
) -> None:
    with process(tmp_path / "state", shopify_schema_path, receiver) as (child, _):
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=10) in {0, -signal.SIGTERM}


@pytest.mark.requirement("FOUND-05")
def test_missing_settings_are_named_all_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sandbox", "serve", "--port", "1"]
    command += ["--state", str(tmp_path), "--schema", str(tmp_path / "none")]
    environ = {"PATH": os.environ["PATH"], "SANDBOX_RESEND_WEBHOOK_SECRET": "whsec_!"}
    ended = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    for name in ("CLIENT_ID", "CLIENT_SECRET", "RESEND_API_KEY", "RESEND_WEBHOOK_SECRET"):
        assert f"SANDBOX_{name}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_command_says_how_it_is_used() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "sandbox"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "python -m sandbox serve" in ended.stderr


def test_the_control_api_answers_only_loopback_callers(quiet_shop: Running) -> None:
    assert quiet_shop.client.get("/_sandbox/shops").json()["shops"][0]["domain"] == DOMAIN
