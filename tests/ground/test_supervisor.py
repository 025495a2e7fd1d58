"""The supervisor with real child processes: they come back, and none is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from ground.supervisor import Supervisor

SLEEPER = [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('up', flush=True); time.sleep(60)",
]


def wait_for(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[[dict[str, list[str]]], Supervisor]]:
    made: list[Supervisor] = []

    def make(commands: dict[str, list[str]]) -> Supervisor:
        supervisor = Supervisor(commands, tmp_path / "log")
        made.append(supervisor)
        supervisor.start()
        return supervisor

    yield make
    for supervisor in made:
        supervisor.stop(patience_s=0.1)


def test_a_killed_child_is_started_again_and_its_history_is_kept(supervise) -> None:
    supervisor = supervise({"sleeper": SLEEPER})
    child = supervisor.children["sleeper"]
    wait_for(lambda: "up" in supervisor.log_tail("sleeper"))
    first = child.pid
    os.kill(first, signal.SIGKILL)
    dead: list[str] = []
    wait_for(lambda: dead.extend(c.name for c in supervisor.poll()) or child.starts == 2)
    assert dead == ["sleeper"]
    assert child.last_exit == -signal.SIGKILL
    assert child.pid != first
    assert child.running


def test_a_child_that_dies_at_once_waits_longer_each_time(supervise) -> None:
    supervisor = supervise({"broken": [sys.executable, "-c", "raise SystemExit('no luck')"]})
    child = supervisor.children["broken"]
    began = time.monotonic()
    wait_for(lambda: supervisor.poll() is not None and child.starts == 4)
    # 0.2 + 0.4 + 0.8 s of waiting stand between four starts.
    assert time.monotonic() - began > 1.4
    assert child.last_exit == 1
    assert "no luck" in supervisor.log_tail("broken")


def test_stop_is_orderly_and_names_what_had_to_be_killed(supervise) -> None:
    supervisor = supervise({"good": SLEEPER, "stubborn": STUBBORN})
    for name in supervisor.children:
        wait_for(lambda name=name: "up" in supervisor.log_tail(name))
    pids = [child.pid for child in supervisor.children.values()]
    assert supervisor.stop(patience_s=0.5) == ["stubborn"]
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert supervisor.children["good"].last_exit == -signal.SIGTERM


def test_children_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    program = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from ground.supervisor import Supervisor
        supervisor = Supervisor({{"sleeper": {SLEEPER!r}}}, Path({str(tmp_path)!r}))
        supervisor.start()
        print(supervisor.children["sleeper"].pid, flush=True)
        time.sleep(60)
    """)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert psutil.pid_exists(pid)
        process.kill()
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")


HANGING = textwrap.dedent("""
    import faulthandler, sys, time
    from ground.adapters.notify import Notifier
    faulthandler.enable()
    notifier = Notifier()
    notifier.tell("WATCHDOG=1", "READY=1")

    def hang_here():
        while True:
            time.sleep(0.05)

    def turn_here():
        while True:
            notifier.tell("WATCHDOG=1")
            time.sleep(0.05)

    turn_here() if sys.argv[1] == "turn" else hang_here()
""")


def test_who_was_ready_and_says_nothing_more_is_ended_and_leaves_where_it_hung(
    tmp_path: Path,
) -> None:
    commands = {name: [sys.executable, "-c", HANGING, name] for name in ("turn", "hang")} | {
        "silent": SLEEPER
    }
    supervisor = Supervisor(commands, tmp_path / "log", watchdog_s=1.0)
    supervisor.start()
    try:
        dead: list[str] = []
        wait_for(lambda: dead.extend(c.name for c in supervisor.poll()) or dead, 20)
        hung = supervisor.children["hang"]
        assert dead == ["hang"]
        assert (hung.hangs, hung.last_exit) == (1, -signal.SIGABRT)
        assert "in hang_here" in supervisor.log_tail("hang", 20)
        wait_for(lambda: supervisor.poll() is not None and hung.starts == 2)
        # Who never said that it is ready is not watched, and who turns is left alone.
        assert supervisor.children["turn"].starts == supervisor.children["silent"].starts == 1
    finally:
        supervisor.stop(patience_s=0.5)
    assert supervisor._sockets is not None
    assert not supervisor._sockets.exists()


def test_a_log_is_bounded(supervise, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("ground.supervisor.LOG_OCTETS", 4096)
    monkeypatch.setattr("ground.supervisor.LOG_LOOK_S", 0.0)
    chatty = (
        "import sys, time\n"
        "for n in range(700): print(f'line {n:04}', flush=True); time.sleep(0.001)\n"
        "print('end', flush=True); sys.stdin.read()"
    )
    supervisor = supervise({"chatty": [sys.executable, "-c", chatty]})
    log, before = tmp_path / "log" / "chatty.log", tmp_path / "log" / "chatty.log.1"
    wait_for(lambda: supervisor.poll() or "end" in supervisor.log_tail("chatty", 1))
    # It goes on in the same file, from its beginning: a shell that follows it sees that.
    assert log.stat().st_size <= 4096
    assert before.stat().st_size > 4096
    assert b"\0" not in before.read_bytes() + log.read_bytes()
