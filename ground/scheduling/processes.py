"""Starting a process that Ctrl-C does not reach: the parent decides, and keeps what was found."""

from __future__ import annotations

import signal
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess


def start_without_interrupt(process: BaseProcess) -> None:
    """Start it with SIGINT blocked, as the signal mask is inherited.

    Ignoring it inside would leave the seconds in which the process still imports: there a Ctrl-C
    (it goes to the whole group) ends it with a traceback.
    """
    # It unblocks SIGINT when it is first started, which would otherwise be in the midst of ours.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
