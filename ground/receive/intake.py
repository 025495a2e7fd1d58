"""Link → capture → on disk → acknowledged, in threads of their own: at the pace of the link.

One thread takes chunks off the link and writes them, another waits for the disk: what comes in the
meantime is written, and given out, all the same.

Whoever decodes takes what is captured when it can.  As long as it keeps up it gets the chunks from
memory; what it is behind by more than `HELD_OCTETS` it gets from the capture itself, so that an
overload costs the decoder time, the capture nothing and memory no more than that.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping

from ground.ports import Link
from ground.receive.capture import CapturedChunk, CapturePosition, CaptureReader, CaptureWriter
from protocols.bus.messages import RadiatedMessage, UplinkMessage

#: Longest wait for the link: the time it takes to notice the end.
TURN_S = 0.05
#: The same while the disk is waited for: the time an acknowledgement may lie about.
UNACKNOWLEDGED_TURN_S = 0.002
#: Between two waits for the disk: chunks that came within it share one, and one acknowledgement.
DISK_S = 0.005
#: Octets of captured chunks kept in memory for the decoder.
HELD_OCTETS = 32 << 20
#: Octets given out at once: the decoder looks at the bus in between.
TAKEN_OCTETS = 4 << 20
#: Uplink messages that wait for the link; while it is away there is no use in more.
MOST_UPLINK = 1024


class _Disk:
    """A thread that waits until the disk has what was written; all that was written while it did
    or shortly after is one more wait.  What is not on disk yet is bounded by the link's window."""

    def __init__(self, writer: CaptureWriter) -> None:
        self._writer = writer
        self._thread = threading.Thread(target=self._run, name="disk", daemon=True)
        self._changed = threading.Condition()
        # Below: under the condition's lock.  By stream: last chunk written, and last on disk.
        self._written: dict[str, int] = {}
        self._on_disk: dict[str, int] = {}
        self._busy = self._ending = False
        self._error: BaseException | None = None
        self._thread.start()

    def written(self, last: Mapping[str, int]) -> None:
        """Chunks up to these, by stream, are written."""
        with self._changed:
            self._written |= last
            self._changed.notify()

    def on_disk(self) -> tuple[dict[str, int], bool]:
        """What the disk has and was not told yet, and whether there is more to come.

        Raises what ended the thread.
        """
        with self._changed:
            if self._error is not None:
                raise self._error
            told, self._on_disk = self._on_disk, {}
            return told, self._busy or bool(self._written)

    def end(self) -> None:
        """Wait for all that is written."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            if not self._ending:
                time.sleep(DISK_S)
            with self._changed:
                self._busy = False
                while not self._written and not self._ending:
                    self._changed.wait()
                if not self._written:
                    return
                written, self._written = self._written, {}
                self._busy = True
            try:
                self._writer.sync()
            except BaseException as error:  # noqa: BLE001 - raised again in the link's thread
                self._error = error
                return
            with self._changed:
                self._on_disk |= written


class Intake:
    """`start`, then `take` again and again from one other thread, then `stop`.

    Chunks are given out when the operating system has them.  sync: they are acknowledged when the
    disk has them, else at once.
    """

    def __init__(
        self,
        link: Link,
        writer: CaptureWriter,
        reader: CaptureReader,
        *,
        sync: bool,
        held_octets: int = HELD_OCTETS,
    ) -> None:
        self._link = link
        self._writer = writer
        self._reader = reader
        self._sync = sync
        self._held_octets = held_octets
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)
        self._stopping = False
        self._changed = threading.Condition()
        # Below: under the condition's lock.
        self._queue: deque[CapturedChunk] = deque()
        self._queue_octets = 0
        self._captured_octets = self._taken_octets = 0
        self._uplink: deque[UplinkMessage] = deque()
        self._radiated: list[RadiatedMessage] = []
        self._ended = False
        self._error: BaseException | None = None
        #: End of what is captured by now.
        self._end: CapturePosition = writer.position
        #: Chunks behind this position are to be read from the capture, up to `_end`.
        self._spilled_from: CapturePosition | None = None
        # The decoder's own.
        self._reading: Iterator[CapturedChunk | None] | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """No more is taken off the link than what it cannot give again; what is captured can still
        be taken."""
        self._stopping = True
        self._thread.join()

    @property
    def behind_octets(self) -> int:
        """Captured and not yet given out."""
        return self._captured_octets - self._taken_octets

    # ------------------------------------------------------------ the link's thread

    def _run(self) -> None:
        try:
            disk = _Disk(self._writer) if self._sync else None
            waiting = False
            stopping = False
            while not stopping:
                # Once more after the link was told to end: what it has is not given again.
                stopping = self._stopping
                if stopping:
                    chunks = self._link.last()
                else:
                    self._send_up()
                    chunks = self._link.receive(UNACKNOWLEDGED_TURN_S if waiting else TURN_S)
                self._hear_of_uplink()
                last = {chunk.stream: chunk.sequence for chunk in chunks}
                if chunks:
                    # Interpreted when it is written, acknowledged when it is on disk: what a power
                    # failure in between takes from the capture the station still has.
                    self._hand_over(self._writer.append(chunks))
                if disk is not None:
                    if last:
                        disk.written(last)
                    last, waiting = disk.on_disk()
                self._acknowledge(last)
            if disk is not None:
                disk.end()
                self._acknowledge(disk.on_disk()[0])
        except BaseException as error:  # noqa: BLE001 - raised again in the decoder's thread
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify()

    def _send_up(self) -> None:
        # Only this thread takes from the left, so that what the link refuses stays the first.
        while self._uplink and self._link.send(self._uplink[0]):
            with self._changed:
                self._uplink.popleft()

    def _hear_of_uplink(self) -> None:
        radiated = self._link.radiated()
        if radiated:
            with self._changed:
                self._radiated += radiated
                self._changed.notify()

    def _acknowledge(self, last: Mapping[str, int]) -> None:
        for stream, sequence in last.items():
            self._link.acknowledge(stream, sequence)

    def _hand_over(self, captured: list[CapturedChunk]) -> None:
        octets = sum(len(chunk.octets) for _, chunk in captured)
        with self._changed:
            if self._spilled_from is None and self._queue_octets + octets > self._held_octets:
                self._spilled_from = self._end
            if self._spilled_from is None:
                self._queue += captured
                self._queue_octets += octets
            self._end = self._writer.position
            self._captured_octets += octets
            self._changed.notify()

    # ------------------------------------------------------------ the decoder's thread

    def send(self, uplink: UplinkMessage) -> bool:
        """Up with it when the link takes it; False if so much waits already that it is not kept."""
        with self._changed:
            if len(self._uplink) >= MOST_UPLINK:
                return False
            self._uplink.append(uplink)
        return True

    def radiated(self) -> list[RadiatedMessage]:
        """What the station said of uplink since the last call."""
        with self._changed:
            radiated, self._radiated = self._radiated, []
        return radiated

    def take(self, timeout_s: float) -> list[CapturedChunk]:
        """What is captured, in order, each chunk once; empty when the time has passed.

        Raises what ended the other thread, when everything captured before has been taken.
        """
        with self._changed:
            if not (self._queue or self._radiated or self._spilled_from or self._ended):
                self._changed.wait(timeout_s)
            taken = self._from_queue()
            if not taken and self._spilled_from is None and self._error is not None:
                raise self._error
        if not taken and self._spilled_from is not None:
            taken = self._from_capture(self._spilled_from)
        if taken:
            self._taken_octets += sum(len(chunk.octets) for _, chunk in taken)
        return taken

    def _from_queue(self) -> list[CapturedChunk]:
        taken: list[CapturedChunk] = []
        octets = 0
        while self._queue and octets < TAKEN_OCTETS:
            taken.append(self._queue.popleft())
            octets += len(taken[-1].chunk.octets)
        self._queue_octets -= octets
        return taken

    def _from_capture(self, spilled_from: CapturePosition) -> list[CapturedChunk]:
        if self._reading is None:
            self._reading = self._reader.follow(spilled_from)
        end = self._end
        taken: list[CapturedChunk] = []
        octets = 0
        # What stands behind the end is perhaps only half written yet.
        while octets < TAKEN_OCTETS and (not taken or taken[-1].position < end):
            captured = next(self._reading)
            if captured is None:
                break
            taken.append(captured)
            octets += len(captured.chunk.octets)
        with self._changed:
            if taken and taken[-1].position >= self._end:
                self._spilled_from = self._reading = None
        return taken


__all__ = ["Intake"]
