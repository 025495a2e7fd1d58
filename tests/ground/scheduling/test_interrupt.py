"""Ctrl-C, as a signal to real processes: what was found is kept, nobody prints a traceback."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from ground.scheduling.processes import start_without_interrupt

EXAMPLE = Path(__file__).parents[3] / "ground/scheduling/examples/week.toml"

#: In a process of its own, since a wrong handler ends the process.
PRESS = """
import signal, sys
from pathlib import Path
from ground.scheduling.requests_views import read_problem
from ground.scheduling.solve import solve

# Whoever starts the tests in the background leaves it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

def press(progress):
    if progress.phase == "exact":
        signal.raise_signal(signal.SIGINT)  # to this thread: CP-SAT's may still be there

problem = read_problem(Path(sys.argv[1]))
solution = solve(problem, steps=1_000_000, on_progress=press)
print(solution.interrupted, len(solution.schedule.tracks) > 0)
"""


def test_a_search_with_cp_sat_keeps_what_it_found() -> None:
    """Left to itself CP-SAT swallows Ctrl-C while it solves, and after that it kills."""
    command = [sys.executable, "-c", PRESS, str(EXAMPLE)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "True True\n"), ended.stderr


def test_a_searching_process_is_deaf_from_its_first_instruction() -> None:
    pipe, other = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=Connection.send, args=(other, "well"))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    start_without_interrupt(process)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)  # while it still starts
    process.join(60)
    assert process.exitcode == 0
    assert pipe.recv() == "well"
    pipe.close()
    other.close()
