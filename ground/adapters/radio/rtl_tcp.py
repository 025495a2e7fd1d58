"""`rtl-tcp://HOST:PORT`: an RTL-SDR (or whatever serves like one) on another machine."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from typing import Final

from ground.adapters.radio.adapter import Adapter, Block, Face, Result, Signal
from ground.adapters.radio.address import Option, choice, count, number, options
from ground.adapters.radio.peer import Peer
from ground.adapters.radio.tcp import CONNECT_S, READ_OCTETS, Stream
from ground.adapters.sockets import listening
from protocols.errors import LocalError, RemoteError
from protocols.physical.rtl_tcp import (
    Command,
    DongleInfo,
    build_command,
    build_dongle_info,
    parse_command,
    parse_dongle_info,
)
from protocols.physical.samples import sample_format

CU8: Final = sample_format("cu8")
_YES: Final = choice("yes", "no")


def _gain(text: str) -> float | None:
    return None if text == "auto" else float(text)


class RtlTcpAdapter(Adapter):
    """Samples of 8 bits.  The server drops what it cannot send without a word: it is always read,
    and what nobody takes is dropped, and counted, here."""

    SUMMARY = "an RTL-SDR served by rtl_tcp"
    ADDRESS = "rtl-tcp://HOST:PORT (rtl_tcp's own port is 1234)"
    FACE = Face.SAMPLES
    OPTIONS = options(
        rate=Option(count, 2_048_000, "samples a second"),
        freq=Option(count, 100_000_000, "centre frequency, Hz"),
        gain=Option(_gain, None, "tuner gain in dB, or auto"),
        ppm=Option(int, 0, "correction of the oscillator, parts per million"),
        agc=Option(_YES, "no", "yes: the RTL2832's own gain control"),
        bias_tee=Option(_YES, "no", "yes: feed the antenna's amplifier"),
        offset_hz=Option(number, 0.0, "added to freq in what is said of the signal: a converter's"),
    )

    _stream: Stream | None = None
    #: What the server has said of itself.
    dongle: DongleInfo | None = None

    def connect(self) -> None:
        self._rest = b""
        self._stream = Stream(self.address.host_and_port(), listen=False)
        self.dongle = parse_dongle_info(self._exactly(12))
        chosen = self.options
        commands: list[tuple[Command, int]] = [
            (Command.SAMPLE_RATE, chosen["rate"]),
            (Command.FREQUENCY, chosen["freq"]),
            (Command.FREQUENCY_CORRECTION, chosen["ppm"]),
            (Command.MANUAL_GAIN, int(chosen["gain"] is not None)),
            (Command.AGC, int(chosen["agc"] == "yes")),
            (Command.BIAS_TEE, int(chosen["bias_tee"] == "yes")),
        ]
        if chosen["gain"] is not None:
            commands.append((Command.GAIN, round(10 * chosen["gain"])))
        if not self._stream.write(b"".join(build_command(*command) for command in commands)):
            raise ConnectionError("the server takes no commands")
        self.signal = Signal(CU8, float(chosen["rate"]), chosen["freq"] + chosen["offset_hz"])

    def _exactly(self, octets: int) -> bytes:
        """The first so many; those behind them stay for `read`.  RemoteError: they do not come."""
        assert self._stream is not None
        while len(self._rest) < octets:
            more = self._stream.read(CONNECT_S)
            if not more:
                raise RemoteError(f"{self.address.text} says nothing: no rtl_tcp?")
            self._rest += more
        found, self._rest = self._rest[:octets], self._rest[octets:]
        return found

    def disconnect(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def read(self, timeout_s: float) -> Sequence[Result]:
        assert self._stream is not None
        # What came with the header is not waited for.
        octets = self._rest + self._stream.read(0 if len(self._rest) >= 2 else timeout_s)
        whole = len(octets) // CU8.octets * CU8.octets
        self._rest = octets[whole:]
        return (Block(octets[:whole]),) if whole else ()

    def tune(self, command: Command, value: int) -> bool:
        """Another frequency, gain … while it runs; False if the server does not take it now."""
        if self._stream is None:
            raise LocalError(f"{self.address.text} is not connected")
        return self._stream.write(build_command(command, value))

    @classmethod
    def peer(cls) -> Peer:
        return RtlTcpPeer()


class RtlTcpPeer(Peer):
    """A server whose samples are what the contract gives it."""

    can_leave = True

    def __init__(self) -> None:
        self._listener = listening("peer", ("127.0.0.1", 0))
        self._address = self._listener.getsockname()
        self.uri = f"rtl-tcp://{self._address[0]}:{self._address[1]}"
        #: All commands that have come, in order.
        self.commands: list[tuple[int, int]] = []
        self._client: socket.socket | None = None
        self._changed = threading.Condition()
        self._serve()

    def _serve(self) -> None:
        listener = self._listener
        listener.setblocking(True)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client = listener.accept()[0]
            except OSError:
                return
            # Whoever has the header is connected: the contract may send at once.
            with self._changed:
                if self._client is not None:
                    self._client.close()
                self._client = client
                client.sendall(build_dongle_info(DongleInfo(5, 29)))
                self._changed.notify_all()
            threading.Thread(target=self._commands, args=(client,), daemon=True).start()

    def _commands(self, client: socket.socket) -> None:
        rest = b""
        try:
            while octets := client.recv(READ_OCTETS):
                rest += octets
                while len(rest) >= 5:
                    self.commands.append(parse_command(rest[:5]))
                    rest = rest[5:]
        except OSError:
            pass

    def send(self, blocks: Sequence[bytes]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._client is not None, 5)
            client = self._client
        assert client is not None
        for block in blocks:
            client.sendall(block)

    def leave(self) -> None:
        # accept() in another thread is woken by shutdown alone.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._changed:
            if self._client is not None:
                self._client.shutdown(socket.SHUT_RDWR)
                self._client.close()
                self._client = None

    def come_back(self) -> None:
        self._listener = listening("peer", self._address)
        self._serve()

    def close(self) -> None:
        try:
            self.leave()
        except OSError:
            self._listener.close()


__all__ = ["RtlTcpAdapter", "RtlTcpPeer"]
