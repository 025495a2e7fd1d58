"""A radio adapter in the place of the station: a `Link` as `receive` wants it.

The station of `protocols/bus/link.py` keeps what it has sent until it is acknowledged, and knows
what it has radiated.  A radio does neither.  So chunks are numbered here (a stream of numbers a
run; a recording's are the same in each), what came while `receive` was away is lost where the wire
does not hold it, and each radiation is written down before it begins (`UplinkLog`): an id that may
have gone up never goes up again, also after a kill.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from ground.adapters.radio.adapter import (
    UNKNOWN,
    Adapter,
    Block,
    Face,
    Signal,
    State,
    Unsendable,
)
from ground.adapters.radio.uplink_log import UplinkLog
from ground.ports import LinkChunk, LinkState, LinkStatistics
from protocols.bus.messages import RadiatedMessage, UplinkMessage
from protocols.identifiers import Carrier
from protocols.physical.sample_block import SampleBlock, build_sample_block
from protocols.timecodes.tai import utc_iso_from_tai_ns

#: A carrier is there while something has come within so long, wall seconds.
SILENCE_S: Final = 3.0
#: At either end of a recording's files.
_MARKED_OCTETS: Final = 1 << 16

_STATES: Final = {
    State.CLOSED: LinkState.UNAVAILABLE,
    State.CONNECTING: LinkState.UNAVAILABLE,
    State.WAITING: LinkState.UNAVAILABLE,
    State.RUNNING: LinkState.OK,
    State.ENDED: LinkState.OK,
    State.DISABLED: LinkState.DISABLED,
    State.FAILED: LinkState.FAILED,
}


class RadioLink:
    """See `Link`.  One carrier goes up by it: the adapter's wire is one transmitter."""

    def __init__(
        self,
        name: str,
        adapter: Adapter,
        now_ns: Callable[[], int],
        uplink_log: Path,
        *,
        carrier: Carrier = Carrier.COMMAND,
    ) -> None:
        """uplink_log: file of what was radiated."""
        self._name = name
        self._adapter = adapter
        self._now_ns = now_ns
        self._log = UplinkLog(uplink_log)
        self._carrier = carrier
        self._stream = ""
        self._sequence = -1
        self._heard_s = -SILENCE_S
        self._waiting: dict[str, UplinkMessage] = {}
        self._radiated: list[RadiatedMessage] = []
        self._chunks = self._octets = 0
        self._enabled = True
        # Of samples: something is missing before the next block; the last block's signal, if the
        # end of what it belongs to has not been told; blocks of which nobody knew the rate.
        self._broken = True
        self._told: Signal | None = None
        self._without_rate = 0

    def open(self, resume: dict[str, int]) -> None:
        self._stream = self._name_of_stream()
        self._sequence = resume.get(self._stream, -1)
        self._log.open()
        # A recording goes on where it was; of a live wire the time in between is missing.
        self._broken = not self._adapter.REPEATS
        if self._enabled:
            self._adapter.open(skip=self._sequence + 1)

    def _name_of_stream(self) -> str:
        """A recording is itself; what a live wire brings from now on never came before."""
        address = self._adapter.address
        if not self._adapter.REPEATS:
            return f"{address.scheme} {utc_iso_from_tai_ns(self._now_ns(), decimals=9)}"
        return f"{address.text} {_mark_of(self._adapter.recording())}"

    def receive(self, timeout_s: float) -> list[LinkChunk]:
        self._radiate()
        blocks: list[Block] = []
        if self._enabled and self._adapter.state not in (State.CLOSED, State.DISABLED):
            blocks = self._adapter.receive(timeout_s)
        else:
            time.sleep(timeout_s)
        return self._chunks_of(blocks)

    def last(self) -> list[LinkChunk]:
        """A radio forgets at once: its wire ends before its reader does.  A recording does not."""
        self._adapter.close()
        blocks: list[Block] = []
        while not self._adapter.REPEATS and (more := self._adapter.receive(0)):
            blocks += more
        return self._chunks_of(blocks)

    def _chunks_of(self, blocks: list[Block]) -> list[LinkChunk]:
        chunks = [self._chunk(block.ert_ns, octets) for block, octets in self._octets_of(blocks)]
        if chunks:
            self._chunks += len(chunks)
            self._octets += sum(len(block.octets) for block in blocks)
            self._heard_s = time.monotonic()
        elif not blocks and self._told is not None and self._has_broken_off():
            # What the receiver still holds is complete: nothing follows, or not without a break.
            end = build_sample_block(_samples(self._told, UNKNOWN, b""))
            chunks.append(self._chunk(self._now_ns(), end))
            self._told = None
        return chunks

    def _has_broken_off(self) -> bool:
        adapter = self._adapter
        return adapter.ended or (not adapter.REPEATS and adapter.state is not State.RUNNING)

    def _chunk(self, ert_ns: int, octets: bytes) -> LinkChunk:
        self._sequence += 1
        return LinkChunk(self._stream, self._sequence, ert_ns, octets)

    def _octets_of(self, blocks: list[Block]) -> Iterator[tuple[Block, bytes]]:
        if self._adapter.FACE is Face.OCTETS:
            yield from ((block, block.octets) for block in blocks)
            return
        for block in blocks:
            if block.signal is None or not block.signal.sample_rate_hz:
                self._without_rate += 1
                self._broken = True
                continue
            lost = UNKNOWN if self._broken else block.lost
            self._broken, self._told = False, block.signal
            yield block, build_sample_block(_samples(block.signal, lost, block.octets))

    def acknowledge(self, stream: str, sequence: int) -> None:
        """A radio forgets at once, a recording never."""

    # ------------------------------------------------------------ uplink

    def send(self, uplink: UplinkMessage) -> bool:
        known = self._log.fate(uplink.id)
        if known is not None:
            self._radiated.append(known)
        elif not self._adapter.transmits:
            self._refuse(uplink, f"{self._adapter.address.scheme} does not transmit")
        elif self._adapter.FACE is not Face.OCTETS:
            scheme = self._adapter.address.scheme
            self._refuse(uplink, f"{scheme} transmits samples: a modulator of octets is wanted")
        elif uplink.carrier != self._carrier:
            self._refuse(uplink, f"this link transmits {self._carrier}, not {uplink.carrier}")
        elif self._adapter.state is not State.RUNNING:
            return False
        else:
            self._waiting[uplink.id] = uplink
            self._radiate()
        return True

    def _radiate(self) -> None:
        """What is due; in the order of its times."""
        if not self._waiting:
            return
        now_ns = self._now_ns()
        for uplink in sorted(self._waiting.values(), key=lambda waiting: waiting.earliest_ns):
            if now_ns > uplink.latest_ns:
                del self._waiting[uplink.id]
                self._refuse(uplink, "its time was over before the transmitter took it")
            elif now_ns >= uplink.earliest_ns:
                if not self._adapter.takes(len(uplink.octets)):
                    return
                fate = RadiatedMessage(uplink.id, uplink.service, uplink.carrier, now_ns, now_ns)
                self._log.begin(fate)
                try:
                    taken = self._adapter.send(uplink.octets)
                except Unsendable as error:
                    del self._waiting[uplink.id]
                    self._refuse(uplink, str(error))
                    continue
                if not taken:
                    # Nothing of it has gone; those behind it wait as well.
                    self._log.withdraw(uplink.id)
                    return
                del self._waiting[uplink.id]
                self._radiated.append(fate)

    def _refuse(self, uplink: UplinkMessage, why: str) -> None:
        fate = RadiatedMessage(uplink.id, uplink.service, uplink.carrier, refused=why)
        self._log.begin(fate)
        self._radiated.append(fate)

    def radiated(self) -> list[RadiatedMessage]:
        radiated, self._radiated = self._radiated, []
        return radiated

    # ------------------------------------------------------------ state

    def enable(self) -> None:
        if not self._enabled:
            self._enabled = True
            if self._adapter.state is State.CLOSED and self._stream:
                self._adapter.open(skip=self._sequence + 1)
            self._adapter.enable()

    def disable(self) -> None:
        self._enabled = False
        self._adapter.disable()

    def statistics(self) -> LinkStatistics:
        seen = self._adapter.statistics()
        state = _STATES[seen.state] if self._enabled else LinkState.DISABLED
        heard = time.monotonic() - self._heard_s < SILENCE_S
        detail = seen.detail
        if not detail and state is LinkState.OK:
            detail = self._adapter.address.text
            if self._broken and self._without_rate:
                detail = f"{detail}: no sample rate is known; give it there, as rate=2.4e6"
        return LinkStatistics(
            name=self._name,
            state=state,
            detail=detail,
            chunks_in=self._chunks,
            octets_in=self._octets,
            chunks_out=seen.blocks_out,
            octets_out=seen.octets_out,
            reconnects=seen.reconnects,
            last_ert_ns=seen.last_ert_ns,
            lost_chunks=seen.lost,
            gaps=seen.gaps + seen.overflows,
            malformed=seen.malformed + self._without_rate,
            carrier=state is LinkState.OK and heard,
        )

    def close(self) -> None:
        self._adapter.close()
        self._log.close()


def _mark_of(files: Sequence[Path]) -> str:
    """Of what is in files: their sizes, beginnings and ends; another recording under the same name
    is another one."""
    found = hashlib.sha256()
    for path in files:
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                head = file.read(_MARKED_OCTETS)
                file.seek(max(size - _MARKED_OCTETS, 0))
                found.update(b"%d %b %b" % (size, head, file.read(_MARKED_OCTETS)))
        except OSError:
            # The adapter says so.
            found.update(b"none")
    return found.hexdigest()[:16]


def _samples(signal: Signal, lost: int, octets: bytes) -> SampleBlock:
    return SampleBlock(signal.format, signal.sample_rate_hz, signal.centre_hz, lost, octets)


__all__ = ["RadioLink"]
