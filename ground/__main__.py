"""`python -m ground SERVICE --run-dir D`: one service in this process, until it is told to end."""

from __future__ import annotations

import argparse
import faulthandler
import os
import resource
import select
import signal
import sqlite3
from contextlib import suppress
from types import FrameType

from ground.config import ALL_SERVICES, RECEIVE, load_settings
from ground.logs import FORMATS, say_why, set_up
from ground.ports import Stop
from ground.restored import check_whole
from ground.supervisor import EXIT_WITH_STDIN
from ground.wiring_services import run_service
from protocols.bus.access import is_key_name
from protocols.errors import ProtocolError

#: What systemd's unit gives us, too.
MAX_DESCRIPTORS = 16_384


def end_of_service() -> Stop:
    """True once SIGTERM or SIGINT has come or, where that is asked for, standard input closed."""
    told: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        told.append(number)

    signal.signal(signal.SIGTERM, remember)
    signal.signal(signal.SIGINT, remember)
    watch_stdin = bool(os.environ.get(EXIT_WITH_STDIN))

    def stop() -> bool:
        if watch_stdin and not told:
            readable, _, _ = select.select([0], [], [], 0)
            if readable and not os.read(0, 4096):
                told.append(0)
        return bool(told)

    return stop


def allow_descriptors() -> None:
    """As many as we may have: each connection of a stranger to a ZeroMQ socket takes one, until the
    time for its handshake is over, and libzmq bounds them by nothing else."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft < most:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _service(name: str) -> str:
    known = name in ALL_SERVICES or (name.startswith(f"{RECEIVE}.") and is_key_name(name))
    if not known:
        raise argparse.ArgumentTypeError(f"{name!r}: {', '.join(ALL_SERVICES)} are")
    return name


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m ground", description="Run one service of the ground segment."
    )
    parser.add_argument(
        "service",
        type=_service,
        help=f"one of {', '.join(ALL_SERVICES)}; receive.ANTENNA: one antenna's receiver",
    )
    parser.add_argument("--run-dir", required=True, help="directory of the run (ground/config.py)")
    parser.add_argument("--log-format", choices=FORMATS, help="default: L4_LOG_FORMAT, else text")
    options = parser.parse_args(arguments)
    # A watchdog ends a service that hangs with SIGABRT: the log then says where.
    faulthandler.enable()
    allow_descriptors()
    try:
        set_up(options.log_format)
        settings = load_settings(options.run_dir)
        check_whole(settings.run_dir)
        run_service(options.service, settings, end_of_service())
    except ProtocolError as error:
        say_why(f"{options.service}: {error}")
        return 2
    except (OSError, sqlite3.Error) as error:
        # Of the disk, above all: full now, and perhaps not when the supervisor starts us again.
        where = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
        text = error.strerror if isinstance(error, OSError) else None
        say_why(f"{options.service}: {where}{text or error}")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
