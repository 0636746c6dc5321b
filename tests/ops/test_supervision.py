import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.errors import PermanentError
from ops.home import Home
from ops.orphans import MARKER, find_orphans, stop_orphans
from ops.supervision import Program, Supervisor, render_config

pytestmark = pytest.mark.processes

# Starts a grandchild, says who it is and what it was given, and stays.
STAYS = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
# Under its name only once it is whole: the next start was once read while the note was still empty.
with open(sys.argv[1] + ".new", "w") as note:
    note.write(f"{os.getpid()} {child.pid} {os.environ.get('GIVEN', '')}")
os.replace(sys.argv[1] + ".new", sys.argv[1])
time.sleep(300)
"""


def eventually(what: Callable[[], bool], *, seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


class Stage:
    """A supervisord with one program."""

    def __init__(self, home: Home) -> None:
        self.supervisor = Supervisor(home)
        self.note = home.run / "note"
        self.given = "100% of 'it', = and, more: a;b#c"
        script = home.run / "stays.py"
        script.write_text(STAYS)
        marker = {MARKER: str(home.path)}
        program = Program(
            name="stays",
            command=[sys.executable, str(script), str(self.note)],
            ready=self.note.exists,
            environment=marker | {"GIVEN": self.given},
        )
        self.process = self.supervisor.launch([program], dict(os.environ) | marker)

    def pids(self) -> tuple[int, int]:
        assert eventually(self.note.exists)
        program, child = self.note.read_text().split()[:2]
        return int(program), int(child)

    def state(self) -> str:
        return self.supervisor.states()["stays"]["statename"]


@pytest.fixture
def stage(home: Home) -> Iterator[Stage]:
    made = Stage(home)
    yield made
    made.supervisor.shut_down()
    made.process.wait(timeout=10)
    stop_orphans(home.path)


def test_nothing_starts_before_it_is_asked_for(stage: Stage) -> None:
    assert stage.state() == "STOPPED"
    stage.supervisor.start("stays")
    assert eventually(lambda: stage.state() == "RUNNING")


def test_the_environment_arrives_as_it_was_given(stage: Stage) -> None:
    stage.supervisor.start("stays")
    stage.pids()
    assert stage.note.read_text().split(maxsplit=2)[2] == stage.given


def test_a_killed_program_comes_back(stage: Stage) -> None:
    stage.supervisor.start("stays")
    assert eventually(lambda: stage.state() == "RUNNING")
    before, _ = stage.pids()
    os.kill(before, signal.SIGKILL)
    assert eventually(lambda: stage.pids()[0] != before)


def test_a_stop_ends_grandchildren_too(stage: Stage) -> None:
    stage.supervisor.start("stays")
    pids = stage.pids()
    stage.supervisor.stop(["stays"])
    assert eventually(lambda: not any(is_alive(pid) for pid in pids))
    assert stage.state() == "STOPPED"


def test_what_a_killed_supervisor_leaves_behind_is_found_and_stopped(
    stage: Stage, home: Home
) -> None:
    stage.supervisor.start("stays")
    pids = stage.pids()
    stage.process.kill()
    stage.process.wait()
    assert not stage.supervisor.is_up()
    assert {orphan.pid for orphan in find_orphans(home.path)} >= set(pids)
    stop_orphans(home.path)
    assert not any(is_alive(pid) for pid in pids)


def test_processes_of_another_home_are_left_alone(home: Home) -> None:
    other = subprocess.Popen(["sleep", "300"], env={MARKER: f"{home.path}-other"})
    same_shell = subprocess.Popen(["sleep", "300"], env={"ECOMCRM_HOME": str(home.path)})
    assert stop_orphans(home.path) == []
    for process in (other, same_shell):
        assert process.poll() is None
        process.kill()
        process.wait()


def test_the_control_socket_and_the_config_are_private(stage: Stage, home: Home) -> None:
    assert (home.run / "supervisor.sock").stat().st_mode & 0o077 == 0
    assert stage.supervisor.config_file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("value", ['a "quoted" word', "two\nlines", "cut ; here", "'ends"])
def test_a_value_that_supervisord_would_read_wrongly_is_refused(home: Home, value: str) -> None:
    program = Program("web", ["true"], ready=lambda: True, environment={"SHOP_NAME": value})
    with pytest.raises(PermanentError, match="SHOP_NAME"):
        render_config([program], home=home, socket=home.run / "s")


def test_a_home_too_deep_for_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="too long a path"):
        Supervisor(Home(tmp_path / ("deep" * 30)))
