"""`l4 radio decode`: a recording of I/Q samples through demodulator, decoders and receive chain."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ground.radio_commands import radio_app
from protocols.errors import LocalError

if TYPE_CHECKING:
    from ground.receive.radio_receiver import RadioReceiver
    from protocols.bus.messages import RadioMessage

_RADIO = "Radio (laid over --mission)"
_CARRIER = "Where to look for the carrier"
#: Samples taken at a time, and seconds of the recording between two looks at how it is heard.
_BLOCK = 1 << 17
_LOOK_S = 0.25


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

`l4 radio decode iq.sigmf-meta -m danuri --modulation qpsk --symbol-rate 2e6 --range-hz 20000
--octets pass.cadu && l4 replay pass.cadu -m danuri --archive archive.sqlite`
"""
)
def decode(
    file: Annotated[Path, typer.Argument(help="Recording, NAME.sigmf-meta.")],
    mission: Annotated[
        str | None, typer.Option("--mission", "-m", help="Profile name (`l4 missions`) or TOML.")
    ] = None,
    octets_out: Annotated[
        Path | None, typer.Option("--octets", help="Write the decoded stream here, for l4 replay.")
    ] = None,
    packets_out: Annotated[
        Path | None, typer.Option("--packets", help="Write the packets back to back to this file.")
    ] = None,
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
        float, _flag("And drifts by less than this, Hz/s; default: 0.", _CARRIER)
    ] = 0.0,
    prediction: Annotated[
        str, _flag("Predicted frequency, c0,c1,…: Σ cᵢ·tⁱ Hz, t from the first sample.", _CARRIER)
    ] = "",
    modulation: Annotated[str | None, _flag("bpsk, qpsk, oqpsk, gmsk, pm/psk, pm/bi-phase")] = None,
    symbol_rate: Annotated[float | None, _flag("Symbols of the modulation a second.")] = None,
    shaping: Annotated[str | None, _flag("rrc or nrz")] = None,
    rolloff: Annotated[float | None, _flag("Of rrc, 0.1 to 1.")] = None,
    index_rad: Annotated[float | None, _flag("Phase modulation's index, radians.")] = None,
    subcarrier_hz: Annotated[float | None, _flag("Of pm/psk.")] = None,
    convolutional: Annotated[str | None, _flag("Rate of the convolutional code, or none.")] = None,
    frame_length: Annotated[int | None, _flag("Octets, FECF included.")] = None,
) -> None:
    """Decode a recording: carrier, symbols, codes, frames and packets, with how it was heard.

    Exit status 1 if not a single frame came out.
    """
    from ground.adapters.radio.sigmf_file import read_recording
    from ground.receive.profile import load_profile
    from ground.receive.radio_receiver import RadioReceiver
    from protocols.physical.demodulator import Reception

    given = {
        "modulation": modulation, "symbol_rate": symbol_rate, "shaping": shaping,
        "rolloff": rolloff, "index_rad": index_rad, "subcarrier_hz": subcarrier_hz,
        "convolutional": convolutional, "frame_length": frame_length,
    }  # fmt: skip
    profile = load_profile(mission, **given)
    recording, data = read_recording(file)
    if not recording.sample_rate_hz:
        raise LocalError(f"{file}: no core:sample_rate; without it nothing can be demodulated")
    if len(recording.segments) > 1:
        raise LocalError(f"{file}: {len(recording.segments)} captures with gaps; one is decoded")
    if range_hz is None:
        range_hz = profile.radio.symbol_rate / 4 if profile.radio is not None else 0.0
    reception = Reception(
        range_hz=range_hz,
        rate_hz_s=rate_hz_s,
        prediction=_coefficients(prediction),
    )
    receiver = RadioReceiver(
        profile,
        sample_rate=recording.sample_rate_hz,
        start_ns=recording.segments[0].ert_ns,
        reception=reception,
    )
    began = time.perf_counter()
    with ExitStack() as stack:
        octets_file = stack.enter_context(octets_out.open("wb")) if octets_out else None
        packets_file = stack.enter_context(packets_out.open("wb")) if packets_out else None
        tell = stack.enter_context(_console(show)) if show is not None else None
        course = _decode(
            receiver, data, recording.format, octets_file, packets_file, tell, file.stem
        )
    seconds = time.perf_counter() - began
    found = _summary(receiver, course, seconds)
    if png is not None:
        from ground.radio_plot import draw

        draw(png, course, title=f"{file.name}: {profile.title or profile.name}")
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


def _decode(
    receiver: RadioReceiver,
    data: Path,
    form: Any,
    octets_file: Any,
    packets_file: Any,
    tell: Any,
    name: str,
) -> _Course:
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
        if octets_file is not None:
            octets_file.write(octets.tobytes())
        if packets_file is not None:
            packets = output.packets
            packets_file.write(packets.select(~packets.is_idle).octets.tobytes())

    look_s = 0.0
    with progress, data.open("rb") as file:
        task = progress.add_task(name, total=data.stat().st_size, heard="")
        block = min(_BLOCK, max(1, round(_LOOK_S * receiver.sample_rate)))
        while octets := file.read(block * form.octets):
            whole = len(octets) // form.octets * form.octets
            before = _good(receiver)
            take(*receiver.push(form.to_complex(octets[:whole])))
            t_s = (receiver.time_ns - receiver.start_ns) / 1e9
            if t_s >= look_s:
                look_s = t_s + _LOOK_S
                fresh = _good(receiver)
                message = receiver.message("file", "decode", frame_lock=fresh > before)
                course.add(t_s, message, fresh)
                if tell is not None:
                    tell(message)
                progress.update(task, heard=_heard(message, fresh))
            progress.update(task, advance=len(octets))
        # The lock is gone once the rest has been pushed out.
        final = receiver.message("file", "decode", frame_lock=True)
        take(*receiver.finish())
    course.add((receiver.time_ns - receiver.start_ns) / 1e9, final, _good(receiver))
    return course


def _good(receiver: RadioReceiver) -> int:
    return receiver.chain.statistics().counts["frames"]["good"]


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


def _console(run_dir: Path) -> Any:
    from contextlib import contextmanager

    from ground.config import load_settings
    from ground.wiring import open_viewer

    if not (run_dir / "run.toml").is_file():
        raise LocalError(f"--show {run_dir}: no run there; `l4 run` starts one")

    @contextmanager
    def opened() -> Iterator[_Telling]:
        with closing(open_viewer(load_settings(run_dir), "l4-radio", topics=())) as bus:
            yield _Telling(bus)

    return opened()


def _summary(receiver: RadioReceiver, course: _Course, seconds: float) -> dict[str, Any]:
    status, counts = receiver.status, receiver.chain.statistics().counts
    heard = [one for one in course.ebn0_db if one == one]
    offsets = [one for one in course.offset_hz if one == one]
    return {
        "samples": receiver.samples,
        "seconds": receiver.samples / receiver.sample_rate,
        "took_s": round(seconds, 3),
        "msps": round(receiver.samples / seconds / 1e6, 3),
        "locks": status.locks,
        "losses": status.losses,
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
