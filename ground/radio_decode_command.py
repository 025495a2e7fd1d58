"""`l4 radio decode`: I/Q samples through demodulator, decoders and receive chain."""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from ground.radio_commands import radio_app
from protocols.errors import LocalError

if TYPE_CHECKING:
    from ground.adapters.radio.adapter import Block
    from ground.receive.radio_receiver import Expect
    from ground.receive.sample_chain import SampleChain
    from protocols.bus.messages import RadioMessage
    from protocols.physical.sample_block import SampleBlock
    from protocols.physical.sigmf import Recording

_RADIO = "Radio (laid over --mission)"
_CARRIER = "Where to look for the carrier"
#: Samples taken at a time, and seconds of the recording between two looks at how it is heard.
_BLOCK = 1 << 17
_LOOK_S = 0.25
#: A scheme as the registry knows them; no drive of a path is so long.
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:")
#: For the other end of --to, wall seconds.
_PATIENCE_S = 10.0


def _flag(text: str, panel: str = _RADIO) -> Any:
    return typer.Option(help=text, rich_help_panel=panel, show_default=False)


@dataclass
class _Course:
    """How the carrier was heard over the recording; seconds from its beginning."""

    t_s: list[float] = field(default_factory=list[float])
    ebn0_db: list[float] = field(default_factory=list[float])
    offset_hz: list[float] = field(default_factory=list[float])
    frames: list[int] = field(default_factory=list[int])
    last: RadioMessage | None = None
    #: The newest one with symbols.
    locked: RadioMessage | None = None

    def add(self, t_s: float, message: RadioMessage, frames: int) -> None:
        self.t_s.append(t_s)
        self.ebn0_db.append(message.ebn0_db)
        self.offset_hz.append(message.carrier_offset_hz if message.carrier_lock else math.nan)
        self.frames.append(frames)
        self.last = message
        if message.symbol_lock:
            self.locked = message


@radio_app.command(
    epilog="""
Examples:

`l4 radio decode pass.sigmf-meta -m l4_relay --png pass.png`

`l4 radio decode rtl-tcp://10.0.0.7:1234?rate=2.4e6 -m danuri --modulation qpsk --symbol-rate 5e5
--record pass.sigmf-meta --to tcp://127.0.0.1:6000`

`l4 radio decode iq.sigmf-meta -m danuri --modulation qpsk --symbol-rate 2e6 --range-hz 20000
--octets pass.cadu && l4 replay pass.cadu -m danuri --archive archive.sqlite`
"""
)
def decode(
    source: Annotated[
        str, typer.Argument(help="Recording, NAME.sigmf-meta, or the address of a radio.")
    ],
    mission: Annotated[
        str | None, typer.Option("--mission", "-m", help="Profile name (`l4 missions`) or TOML.")
    ] = None,
    octets_out: Annotated[
        Path | None, typer.Option("--octets", help="Write the decoded stream here, for l4 replay.")
    ] = None,
    packets_out: Annotated[
        Path | None, typer.Option("--packets", help="Write the packets back to back to this file.")
    ] = None,
    to: Annotated[
        str, typer.Option(help="Send the decoded stream on, as tcp://HOST:PORT (`l4 run --radio`).")
    ] = "",
    record: Annotated[
        Path | None, typer.Option(help="Of a radio: keep its samples, as NAME.sigmf-meta.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="Of a radio: end after so long; 0: with Ctrl-C.")
    ] = 0.0,
    png: Annotated[
        Path | None, typer.Option(help="Spectrum, constellation, Eb/N0 and frequency as a picture.")
    ] = None,
    show: Annotated[
        Path | None,
        typer.Option(help="Run directory whose console is to show it as it is decoded (Link)."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
    range_hz: Annotated[
        float | None,
        _flag("It is within so many hertz; default: a quarter of the symbol rate.", _CARRIER),
    ] = None,
    rate_hz_s: Annotated[
        float | None, _flag("And drifts by less than this, Hz/s; default: 0.", _CARRIER)
    ] = None,
    frequency_hz: Annotated[
        float | None, _flag("As it is sent; default: what the radio was tuned to.", _CARRIER)
    ] = None,
    target: Annotated[
        str | None,
        _flag("Whose Doppler shift is predicted: l4, a body, an OEM or TLE file.", _CARRIER),
    ] = None,
    station: Annotated[str | None, _flag("Where it is heard, with --target.", _CARRIER)] = None,
    prediction: Annotated[
        str,
        _flag("Instead of that: c0,c1,…: Σ cᵢ·tⁱ Hz, t from the first sample.", _CARRIER),
    ] = "",
    modulation: Annotated[str | None, _flag("bpsk, qpsk, oqpsk, gmsk, pm/psk, pm/bi-phase")] = None,
    symbol_rate: Annotated[float | None, _flag("Symbols of the modulation a second.")] = None,
    shaping: Annotated[str | None, _flag("rrc or nrz")] = None,
    rolloff: Annotated[float | None, _flag("Of rrc, 0.1 to 1.")] = None,
    index_rad: Annotated[float | None, _flag("Phase modulation's index, radians.")] = None,
    subcarrier_hz: Annotated[float | None, _flag("Of pm/psk.")] = None,
    subcarrier: Annotated[str | None, _flag("Of pm/psk: sine or square.")] = None,
    bt: Annotated[float | None, _flag("Of gmsk, 0.2 to 1.")] = None,
    convolutional: Annotated[str | None, _flag("Rate of the convolutional code, or none.")] = None,
    turbo: Annotated[str | None, _flag("Rate of the turbo code, or none.")] = None,
    ldpc: Annotated[str | None, _flag('LDPC code: C2, or as "AR4JA 1/2 1024"; or none.')] = None,
    frame_length: Annotated[int | None, _flag("Octets, FECF included.")] = None,
) -> None:
    """Decode I/Q samples: carrier, symbols, codes, frames and packets, with how it was heard.

    Where samples are missing, the receiver waits for a tenth of a second of them and then looks for
    its carrier anew. Exit status 1 if not a single frame came out.
    """
    from ground.receive.profile import load_profile
    from ground.receive.sample_chain import SampleChain
    from ground.wiring_radio import open_prediction

    given = {
        "modulation": modulation, "symbol_rate": symbol_rate, "shaping": shaping,
        "rolloff": rolloff, "index_rad": index_rad, "subcarrier_hz": subcarrier_hz,
        "subcarrier": subcarrier, "bt": bt,
        "convolutional": convolutional, "turbo": turbo, "ldpc": ldpc,
        "frame_length": frame_length, "range_hz": range_hz, "rate_hz_s": rate_hz_s,
        "frequency_hz": frequency_hz, "target": target, "station": station,
    }  # fmt: skip
    profile = load_profile(mission, **given)
    if profile.radio is None:
        raise LocalError(
            f"link profile {profile.name!r} does not say how its carrier is modulated; give "
            "--modulation and --symbol-rate"
        )
    told = _coefficients(prediction)
    predict = None if told else open_prediction(profile)
    began = time.perf_counter()
    with ExitStack() as stack:
        samples = stack.enter_context(_open(source, record, seconds))
        expect = _from(samples.start_ns, told) if told else None
        chain = SampleChain(profile, predict=predict, expect=expect)
        sinks: list[_Sink] = []
        if octets_out is not None:
            sinks.append(_to_file(stack.enter_context(octets_out.open("wb")), packets=False))
        if packets_out is not None:
            sinks.append(_to_file(stack.enter_context(packets_out.open("wb")), packets=True))
        if to:
            sinks.append(stack.enter_context(_sending(to)))
        tell = stack.enter_context(_console(show)) if show is not None else None
        course = _decode(chain, samples, sinks, tell)
    if course.last is None:
        raise LocalError(f"{source}: not a sample in it")
    took_s = time.perf_counter() - began
    found = _summary(chain, samples, course, took_s)
    if png is not None:
        from ground.radio_plot import draw

        draw(png, course, title=f"{samples.name}: {profile.title or profile.name}")
    if json_:
        print(json.dumps(found, indent=2))
    else:
        _print(found)
        if png is not None:
            print(f"picture    {png}")
    raise typer.Exit(0 if found["frames"]["good"] else 1)


def _coefficients(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(one) for one in text.split(",") if one.strip())
    except ValueError:
        raise LocalError(f"--prediction {text!r}: numbers with commas between wanted") from None


def _from(start_ns: int, coefficients: tuple[float, ...]) -> Expect:
    """Σ cᵢ tⁱ Hz, t from an ERT on, as seen from later ones."""

    def expected(ert_ns: int, seconds: float) -> tuple[float, ...]:
        t_s = (ert_ns - start_ns) / 1e9
        return tuple(
            sum(c * math.comb(i, k) * t_s ** (i - k) for i, c in enumerate(coefficients) if i >= k)
            for k in range(len(coefficients))
        )

    return expected


@dataclass(frozen=True)
class _Samples:
    """start_ns: ERT of the first; blocks: with the ERTs of their first samples; octets: of a
    recording, for the progress bar."""

    name: str
    sample_rate: float
    start_ns: int
    blocks: Iterator[tuple[SampleBlock, int]]
    octets: int | None


_Sink = Callable[[Any, Any], None]


@contextmanager
def _open(source: str, record: Path | None, seconds: float) -> Iterator[_Samples]:
    """LocalError: not there, or no samples."""
    if _ADDRESS.match(source) and not Path(source).exists():
        with _open_radio(source, record, seconds) as samples:
            yield samples
        return
    from ground.adapters.radio.sigmf_file import read_recording

    if record is not None or seconds:
        raise LocalError(f"{source}: --record and --seconds are for radios")
    recording, data = read_recording(Path(source))
    if not recording.sample_rate_hz:
        raise LocalError(f"{source}: no core:sample_rate; without it nothing can be demodulated")
    with data.open("rb") as file:
        size = data.stat().st_size
        start_ns = recording.segments[0].ert_ns
        yield _Samples(
            Path(source).name, recording.sample_rate_hz, start_ns, _blocks(recording, file), size
        )


def _blocks(recording: Recording, file: BinaryIO) -> Iterator[tuple[SampleBlock, int]]:
    """Segment by segment; where one does not know its time, it follows from the one before."""
    from protocols.physical.sample_block import UNKNOWN, SampleBlock

    form, rate = recording.format, recording.sample_rate_hz
    most = min(_BLOCK, max(1, round(_LOOK_S * rate)))
    ends = [*(segment.start for segment in recording.segments[1:]), 1 << 62]
    at, ert_ns, missing = 0, 0, 0
    for segment, lost, end in zip(recording.segments, recording.losses, ends, strict=True):
        # One without samples leaves it to the next.
        missing = UNKNOWN if UNKNOWN in (missing, lost) else missing + lost
        ert_ns = segment.ert_ns or ert_ns + round(max(lost, 0) * 1e9 / rate)
        first = at
        while at < end and (octets := file.read(min(most, end - at) * form.octets)):
            count = len(octets) // form.octets
            begin_ns = ert_ns + round((at - first) * 1e9 / rate)
            whole = octets[: count * form.octets]
            yield SampleBlock(form, rate, segment.centre_hz, missing, whole), begin_ns
            at, missing = at + count, 0
        ert_ns += round((at - first) * 1e9 / rate)


@contextmanager
def _open_radio(source: str, record: Path | None, seconds: float) -> Iterator[_Samples]:
    """What an adapter brings, from its first samples on."""
    from ground.adapters.radio.adapter import Face
    from ground.adapters.radio.recording import Recorder
    from ground.adapters.radio.registry import open_adapter
    from protocols.physical.sample_block import SampleBlock

    recorder = None if record is None else Recorder(record)
    adapter = open_adapter(source, capture=recorder)
    if adapter.FACE is not Face.SAMPLES:
        raise LocalError(f"{source} gives octets of frames, no I/Q samples: `l4 run --radio` it")
    if recorder is not None:
        recorder.attach(adapter)
    try:
        adapter.open()
        first: list[Block] = []
        while not first and not adapter.ended:
            first = adapter.receive(0.1)
        signal = first[0].signal if first else adapter.signal
        if signal is None or not signal.sample_rate_hz:
            why = adapter.last_failure or "its sample rate is not known; give it in the address"
            raise LocalError(f"{source}: {why}")
        if not first:
            raise LocalError(f"{source}: {adapter.last_failure or 'it ended without a sample'}")

        def blocks() -> Iterator[tuple[SampleBlock, int]]:
            waiting, end_s = first, time.monotonic() + seconds
            # What came before the first is not missing.
            waiting[0] = replace(waiting[0], lost=0)
            while True:
                for block in waiting:
                    now = block.signal or signal
                    yield (
                        SampleBlock(
                            now.format, now.sample_rate_hz, now.centre_hz, block.lost, block.octets
                        ),
                        block.ert_ns,
                    )
                if adapter.ended or (seconds and time.monotonic() >= end_s):
                    return
                try:
                    waiting = adapter.receive(0.1)
                except KeyboardInterrupt:
                    return

        yield _Samples(source, signal.sample_rate_hz, first[0].ert_ns, blocks(), None)
    finally:
        adapter.close()
        if recorder is not None:
            recorder.close()


def _to_file(file: Any, *, packets: bool) -> _Sink:
    def take(octets: Any, output: Any) -> None:
        if not packets:
            file.write(octets.tobytes())
            return
        found = output.packets
        file.write(found.select(~found.is_idle).octets.tobytes())

    return take


@contextmanager
def _sending(address: str) -> Iterator[_Sink]:
    """By an adapter of octets, to whoever is at the other end."""
    from ground.adapters.radio.adapter import Face, State
    from ground.adapters.radio.registry import open_adapter

    adapter = open_adapter(address)
    if adapter.FACE is not Face.OCTETS or not adapter.transmits:
        raise LocalError(f"--to {address}: an adapter that sends octets wanted")

    def take(octets: Any, output: Any) -> None:
        if not len(octets):
            return
        end_s = time.monotonic() + _PATIENCE_S
        while not adapter.send(octets.tobytes()):
            if time.monotonic() >= end_s:
                raise LocalError(f"--to {address}: takes nothing: {adapter.state}")
            time.sleep(0.02)

    try:
        adapter.open()
        if not adapter.wait_until(State.RUNNING, timeout_s=_PATIENCE_S):
            raise LocalError(f"--to {address}: {adapter.last_failure or adapter.state}")
        yield take
    finally:
        adapter.close()


def _decode(chain: SampleChain, samples: _Samples, sinks: list[_Sink], tell: Any) -> _Course:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    course = _Course()
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[heard]}"),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )

    def take(octets: Any, output: Any) -> None:
        for sink in sinks:
            sink(octets, output)

    def look() -> RadioMessage | None:
        message = chain.message(samples.name, "decode")
        if message is not None:
            course.add((message.time_ns - samples.start_ns) / 1e9, message, _good(chain))
        return message

    looked_ns = None
    with progress:
        task = progress.add_task(samples.name, total=samples.octets, heard="")
        for block, ert_ns in samples.blocks:
            take(*chain.push(block, ert_ns))
            if looked_ns is None or ert_ns - looked_ns >= _LOOK_S * 1e9:
                looked_ns = ert_ns
                if (message := look()) is not None:
                    if tell is not None:
                        tell(message)
                    progress.update(task, heard=_heard(message, course.frames[-1]))
            progress.update(task, advance=len(block.octets))
        # The lock is gone once the rest has been pushed out.
        final = look()
        take(*chain.end())
    if final is not None:
        course.frames[-1] = _good(chain)
    return course


def _good(chain: SampleChain) -> int:
    return chain.statistics().counts["frames"]["good"]


def _heard(message: RadioMessage, frames: int) -> str:
    if not message.symbol_lock:
        return f"no lock, {frames} frames"
    return f"Eb/N0 {message.ebn0_db:.1f} dB, {message.carrier_offset_hz:+.0f} Hz, {frames} frames"


class _Telling:
    """Puts messages on the bus of a running site."""

    def __init__(self, bus: Any) -> None:
        self._bus = bus

    def __call__(self, message: RadioMessage) -> None:
        from protocols.identifiers import Topic

        topic = f"{Topic.RADIO}.{message.receiver}"
        self._bus.publish(topic, message.build(), time_ns=message.time_ns)
        self._bus.receive(0.0)


@contextmanager
def _console(run_dir: Path) -> Iterator[_Telling]:
    from ground.config import load_settings
    from ground.wiring import open_viewer

    if not (run_dir / "run.toml").is_file():
        raise LocalError(f"--show {run_dir}: no run there; `l4 run` starts one")

    with closing(open_viewer(load_settings(run_dir), "l4-radio", topics=(), publishes=True)) as bus:
        yield _Telling(bus)


def _summary(
    chain: SampleChain, samples: _Samples, course: _Course, seconds: float
) -> dict[str, Any]:
    counts = chain.statistics().counts
    radio = counts["radio"]
    heard = [one for one in course.ebn0_db if one == one]
    offsets = [one for one in course.offset_hz if one == one]
    return {
        "samples": radio["samples"],
        "seconds": radio["samples"] / samples.sample_rate,
        "lost_samples": radio["lost"],
        # The last ends with the samples.
        "breaks": max(radio["breaks"] - 1, 0),
        "took_s": round(seconds, 3),
        "msps": round(radio["samples"] / seconds / 1e6, 3),
        "locks": radio["locks"],
        "losses": radio["losses"],
        "ebn0_db": round(sorted(heard)[len(heard) // 2], 2) if heard else None,
        "offset_hz": [round(min(offsets), 1), round(max(offsets), 1)] if offsets else None,
        **{
            name: counts[name] for name in ("sync", "coding", "frames", "packets") if name in counts
        },
    }


def _print(found: dict[str, Any]) -> None:
    speed = found["seconds"] / found["took_s"] if found["took_s"] else math.inf
    print(
        f"samples    {found['samples']:,}, {found['seconds']:.1f} s, in {found['took_s']:.1f} s: "
        f"{found['msps']:.2f} Msps, {speed:.1f} times real time"
    )
    if found["lost_samples"] or found["breaks"]:
        print(
            f"missing    {found['lost_samples']:,} samples as far as is known; the carrier was "
            f"looked for anew {found['breaks']} times"
        )
    if found["ebn0_db"] is None:
        print("carrier    none found; --range-hz and --symbol-rate say where to look")
    else:
        low, high = found["offset_hz"]
        print(
            f"carrier    {low:+.0f} to {high:+.0f} Hz, Eb/N0 {found['ebn0_db']:.1f} dB, locked "
            f"{found['locks']} times, lost {found['losses']}"
        )
    if "coding" in found:
        coding = found["coding"]
        print(
            f"codewords  {coding['codewords']:,}: {coding['clean']:,} clean, "
            f"{coding['corrected']:,} corrected, {coding['uncorrectable']:,} uncorrectable"
        )
    frames = found["frames"]
    print(f"frames     {frames['frames']:,}, {frames['good']:,} good")
    print(f"packets    {found['packets']['packets']:,}")
