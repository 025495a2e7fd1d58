"""`soapy:ARGUMENTS`: any SDR that has a SoapySDR module (RTL-SDR, HackRF, Lime, Pluto, UHD, …)."""

from __future__ import annotations

import ctypes as ct
import time
from collections.abc import Sequence
from typing import Any, Final

from ground.adapters.radio import soapy_library as soapy
from ground.adapters.radio.adapter import UNKNOWN, Adapter, Block, Face, Loss, Result, Signal
from ground.adapters.radio.address import Option, choice, count, number, options
from protocols.errors import LocalError
from protocols.physical.samples import sample_format

#: SoapySDR's names of formats: ours.
FORMATS: Final = {"CS16": "ci16_le", "CS8": "ci8", "CU8": "cu8", "CF32": "cf32_le"}
#: Samples of one read: at 10 Msps a few milliseconds.
READ_SAMPLES: Final = 1 << 16
#: A transmitter that has taken nothing for so long is stuck.
WRITE_S: Final = 5.0


def _decibels(text: str) -> float | None:
    return None if text == "auto" else float(text)


class SoapyAdapter(Adapter):
    """A device's own overflows and, where it times its samples, gaps are seen and counted."""

    SUMMARY = "any SDR with a SoapySDR module, receiving and transmitting"
    ADDRESS = "soapy:driver=NAME,KEY=VALUE (`SoapySDRUtil --find`)"
    FACE = Face.SAMPLES
    OPTIONS = options(
        rate=Option(number, 1e6, "samples a second"),
        freq=Option(number, 100e6, "centre frequency, Hz"),
        gain=Option(_decibels, None, "overall gain in dB, or auto"),
        bandwidth=Option(number, 0.0, "of the analogue filter, Hz; 0: the device's choice"),
        antenna=Option(str, "", "port; the device's choice unless given"),
        channel=Option(count, 0, "of the device, from 0"),
        format=Option(choice(*FORMATS), "CS16", f"one of {', '.join(FORMATS)}"),
        direction=Option(choice("rx", "tx", "both"), "rx", "rx, tx or both"),
        tx_freq=Option(number, 0.0, "centre frequency of what is transmitted, Hz; 0: freq"),
        tx_gain=Option(_decibels, None, "of the transmitter in dB; the device's unless given"),
    )
    TRANSMITS = True

    _device: Any = None

    @property
    def receives(self) -> bool:
        return self.options["direction"] != "tx"

    @property
    def transmits(self) -> bool:
        return self.options["direction"] != "rx"

    def connect(self) -> None:
        chosen = self.options
        known = sample_format(FORMATS[chosen["format"]])
        self._streams: dict[int, Any] = {}
        self._device = soapy.call("makeStrArgs", self.address.rest.encode())
        if not self._device:
            raise ConnectionError(f"no device answers to {self.address.rest!r}")
        if self.receives:
            rate, freq = self._set_up(soapy.RX, chosen["freq"], chosen["gain"], automatic=True)
            self.signal = Signal(known, rate, freq)
        if self.transmits:
            freq = chosen["tx_freq"] or chosen["freq"]
            rate, freq = self._set_up(soapy.TX, freq, chosen["tx_gain"], automatic=False)
            self.signal = self.signal or Signal(known, rate, freq)
        self._size = known.octets
        self._buffer = ct.create_string_buffer(READ_SAMPLES * self._size)
        self._due_ns: float | None = None
        self._overflowed = False

    def _set_up(
        self, direction: int, freq: float, gain: float | None, *, automatic: bool
    ) -> tuple[float, float]:
        """Rate and frequency as the device has set them."""
        chosen = self.options
        here = (self._device, direction, chosen["channel"])
        soapy.call("setSampleRate", *here, chosen["rate"])
        soapy.call("setFrequency", *here, freq, None)
        if chosen["bandwidth"]:
            soapy.call("setBandwidth", *here, chosen["bandwidth"])
        if chosen["antenna"]:
            soapy.call("setAntenna", *here, chosen["antenna"].encode())
        if gain is not None:
            if automatic:
                soapy.call("setGainMode", *here, False)
            soapy.call("setGain", *here, gain)
        channels = (ct.c_size_t * 1)(chosen["channel"])
        stream = soapy.call(
            "setupStream", self._device, direction, chosen["format"].encode(), channels, 1, None
        )
        if not stream:
            raise ConnectionError(f"{self.address.rest}: the device gives no stream")
        self._streams[direction] = stream
        # 0 elements, no flags, at no set time: begin now.
        soapy.status("activateStream", self._device, stream, 0, 0, 0)
        return soapy.call("getSampleRate", *here), soapy.call("getFrequency", *here)

    def disconnect(self) -> None:
        device, self._device = self._device, None
        if device is None:
            return
        for stream in self._streams.values():
            soapy.library().SoapySDRDevice_deactivateStream(device, stream, 0, 0)
            soapy.library().SoapySDRDevice_closeStream(device, stream)
        soapy.library().SoapySDRDevice_unmake(device)

    def read(self, timeout_s: float) -> Sequence[Result]:
        flags, time_ns = ct.c_int(0), ct.c_longlong(0)
        buffers = (ct.c_void_p * 1)(ct.addressof(self._buffer))
        got = soapy.status(
            "readStream",
            self._device,
            self._streams[soapy.RX],
            buffers,
            READ_SAMPLES,
            ct.byref(flags),
            ct.byref(time_ns),
            int(timeout_s * 1e6),
        )
        if got == soapy.OVERFLOW:
            if self._due_ns is None:
                return (Loss("overflow"),)
            # The time of the next samples says how many are missing.
            self._overflowed = True
            return ()
        if got <= 0:
            return ()
        results: list[Result] = self._missing(
            got, time_ns.value, bool(flags.value & soapy.HAS_TIME)
        )
        results.append(Block(ct.string_at(self._buffer, got * self._size)))
        return results

    def _missing(self, samples: int, time_ns: int, timed: bool) -> list[Result]:
        """What the device's own time says of the samples before these."""
        assert self.signal is not None
        rate = self.signal.sample_rate_hz
        late = 0
        if timed and self._due_ns is not None:
            late = round((time_ns - self._due_ns) * rate / 1e9)
        overflowed, self._overflowed = self._overflowed, False
        self._due_ns = time_ns + samples * 1e9 / rate if timed and rate else None
        if overflowed:
            return [Loss("overflow", late if late > 0 else UNKNOWN)]
        return [Loss("gap", late)] if late > 0 else []

    def write(self, octets: bytes) -> bool:
        """Whole samples.  Nothing is sent if the device takes nothing at once."""
        if len(octets) % self._size:
            raise LocalError(f"{len(octets)} octets are no whole samples of {self._size}")
        source = ct.create_string_buffer(octets, len(octets))
        samples, sent = len(octets) // self._size, 0
        deadline = time.monotonic() + WRITE_S
        while sent < samples:
            buffers = (ct.c_void_p * 1)(ct.addressof(source) + sent * self._size)
            flags = ct.c_int(0)
            took = soapy.status(
                "writeStream",
                self._device,
                self._streams[soapy.TX],
                buffers,
                samples - sent,
                ct.byref(flags),
                0,
                100_000 if sent else 0,
            )
            if took <= 0 and not sent:
                return False
            if took <= 0 and time.monotonic() > deadline:
                raise TimeoutError(f"the device has taken nothing for {WRITE_S:g} s")
            sent += max(took, 0)
        return True


__all__ = ["SoapyAdapter"]
