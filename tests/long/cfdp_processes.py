"""Both ends of a file transfer in processes of their own, killed -9 while they work."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ground.command.files import FileTransfers
from ground.command.files_store import FileStore
from protocols.dictionary.l4_link import FILE_PACKET_OCTETS
from protocols.files.entity import FileEntity, new_peer
from protocols.files.packets import PACKET_OVERHEAD, PacketWriter, pdu_of
from protocols.identifiers import CfdpEntity
from tests.protocols.files.air import OWLT_NS


class SpaceFiles:
    """The spacecraft's entity on a mass memory that is a directory, so that its process can die.

    (`spacecraft_sim` holds its mass memory in its own process; the entity is the same.)
    """

    def __init__(self, directory: Path, *, now_ns: int, owlt_ns: int) -> None:
        self._store = FileStore(directory)
        longest = FILE_PACKET_OCTETS - PACKET_OVERHEAD
        peer = new_peer(CfdpEntity.GROUND, owlt_ns=owlt_ns, longest_pdu=longest)
        self._entity = FileEntity(CfdpEntity.SPACECRAFT, [peer], self._store, now_ns)
        self._writer = PacketWriter(telecommand=False)

    def hear(self, now_ns: int, packets: Sequence[bytes]) -> None:
        self._entity.hear(now_ns, [pdu for one in packets if (pdu := pdu_of(one)) is not None])

    def take(self, now_ns: int, room: int) -> list[bytes]:
        return self._writer.write(self._entity.take(now_ns, room, overhead=PACKET_OVERHEAD))

    def put(self, now_ns: int, path: Path, name: str) -> Any:
        return self._entity.put(now_ns, str(path), name, peer=CfdpEntity.GROUND)

    @property
    def waiting(self) -> bool:
        return self._entity.waiting

    @property
    def next_deadline_ns(self) -> int | None:
        return self._entity.next_deadline_ns

    def states(self) -> list[str]:
        return [record.state.value for record in self._entity.records()]


class GroundFiles(FileTransfers):
    def states(self) -> list[str]:
        return [transfer.state for transfer in self.listing()]


def _serve(side: int, directory: Path, now_ns: int, calls: Connection) -> None:
    made = (GroundFiles, SpaceFiles)[side](directory, now_ns=now_ns, owlt_ns=OWLT_NS)
    while True:
        try:
            name, arguments = calls.recv()
        except EOFError:
            return
        result = getattr(made, name)(*arguments) if name else None
        calls.send((result, made.waiting, made.next_deadline_ns, made.states()))


class Process:
    """One end; `kill`: how often a call is its last.

    What was being heard is heard again by the next process, as a service's journal would have it;
    what was being taken is gone.
    """

    def __init__(self, side: int, directory: Path, seed: int, kill: float) -> None:
        self._side, self._directory = side, directory
        self._random = random.Random(seed)
        self._kill = kill
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__])
        self.kills = 0
        self.now_ns = 0
        self.waiting = False
        self.next_deadline_ns: int | None = None
        self.states: list[str] = []
        self._start()

    def _start(self) -> None:
        self._calls, theirs = self._context.Pipe()
        self._process = self._context.Process(
            target=_serve, args=(self._side, self._directory, self.now_ns, theirs), daemon=True
        )
        self._process.start()
        theirs.close()
        self._call("")

    def _call(self, name: str, *arguments: Any) -> Any:
        self._calls.send((name, arguments))
        result, self.waiting, self.next_deadline_ns, self.states = self._calls.recv()
        return result

    def _dies(self, name: str, *arguments: Any) -> bool:
        """Whether this call is the process's last, at whatever it has come to."""
        if self._random.random() >= self._kill:
            return False
        self._calls.send((name, arguments))
        time.sleep(self._random.uniform(0, 0.02))
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.join()
        self._calls.close()
        self.kills += 1
        self._start()
        return True

    def hear(self, now_ns: int, packets: Sequence[bytes]) -> None:
        self.now_ns = now_ns
        while self._dies("hear", now_ns, packets):
            pass
        self._call("hear", now_ns, packets)

    def take(self, now_ns: int, room: int) -> list[bytes]:
        self.now_ns = now_ns
        if self._dies("take", now_ns, room):
            return []
        return self._call("take", now_ns, room)

    def put(self, now_ns: int, path: Path, name: str) -> None:
        self._call("put", now_ns, path, name)

    def end(self) -> None:
        self._calls.close()
        self._process.join(10)
        assert self._process.exitcode == 0
