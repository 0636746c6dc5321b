import os
import socket
import subprocess
from collections.abc import Iterator

import pytest

from core.errors import PermanentError
from ops.ports import LOOPBACK, Service, choose_ports, free_ports, is_free, is_listening


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that a stranger listens on."""
    with socket.create_server((LOOPBACK, 0)) as stranger:
        yield stranger.getsockname()[1]


def test_a_set_port_is_used_as_it_is() -> None:
    wanted = free_ports()
    assert {s.variable: str(port) for s, port in choose_ports(wanted, {}).items()} == wanted


def test_a_set_port_that_is_taken_is_named_with_its_variable(taken: int) -> None:
    environ = free_ports() | {"ECOMCRM_PORT_WEB": str(taken), "ECOMCRM_PORT_DAGSTER": "http"}
    with pytest.raises(PermanentError) as refusal:
        choose_ports(environ, {})
    assert f"ECOMCRM_PORT_WEB={taken} is taken by another program" in str(refusal.value)
    assert "ECOMCRM_PORT_DAGSTER=http is not a port" in str(refusal.value)


def test_two_services_cannot_be_set_to_one_port() -> None:
    environ = free_ports()
    environ["ECOMCRM_PORT_SANDBOX"] = environ["ECOMCRM_PORT_WEB"]
    with pytest.raises(PermanentError, match="is set for two services"):
        choose_ports(environ, {})


def test_a_port_nobody_asked_for_moves_on_when_a_stranger_has_it(taken: int) -> None:
    saved = free_ports() | {"ECOMCRM_PORT_WEB": str(taken)}
    chosen = choose_ports({}, saved)
    assert chosen[Service.WEB] > taken
    assert is_free(chosen[Service.WEB])
    assert str(chosen[Service.DAGSTER]) == saved["ECOMCRM_PORT_DAGSTER"]


def test_free_ports_differ_from_each_other() -> None:
    assert len(set(free_ports().values())) == len(Service)


def test_a_stranger_on_the_port_is_not_taken_for_our_process(taken: int) -> None:
    # Two installations that started together each took the other's sandbox for their own.
    stranger = subprocess.Popen(["sleep", "60"])
    assert is_listening(os.getpid(), taken)
    assert not is_listening(stranger.pid, taken)
    assert not is_listening(os.getpid(), int(free_ports()["ECOMCRM_PORT_WEB"]))
    stranger.kill()
    stranger.wait()
