"""python -m spacecraft_sim: wiring of scenario, spacecraft, channel and adapters; nothing else."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

import zmq

from protocols.errors import LocalError
from protocols.navigation.tdm import build_tdm
from protocols.physical.samples import SAMPLE_FORMATS, sample_format
from protocols.timecodes.tai import tai_ns_from_utc_iso, utc_iso_from_tai_ns
from spacecraft_sim import scenario as scenarios
from spacecraft_sim.adapters.curve import StationKeys
from spacecraft_sim.adapters.file import FileOutput
from spacecraft_sim.adapters.zmq_link import ZmqStation
from spacecraft_sim.channel import (
    Channel,
    EphemerisLightTime,
    FixedLightTime,
    LightTime,
    Station,
    expiry_note,
    open_ephemeris,
)
from spacecraft_sim.live import Antenna, LiveDownlink, OpticalDown
from spacecraft_sim.optical_channel import OpticalChannel
from spacecraft_sim.passes import AlwaysTracking, PassFile
from spacecraft_sim.spacecraft import Spacecraft
from spacecraft_sim.station_buffer import DEFAULT_CAPACITY_OCTETS, StationBuffer
from spacecraft_sim.tracking import tracking_data
from spacecraft_sim.world_clock import WorldClock

#: Files begin here unless --start-utc says otherwise, so that the same command gives the same file.
FILE_START_UTC = "2027-01-01T00:00:00Z"
#: Before what arrives first, the spacecraft has lived this long: every packet kind has been sent.
WARM_UP_S = 30
#: Wall seconds between turns: what arrives is at most this late.
PERIOD_S = 0.02
#: By which one antenna hears what another has heard, the Earth being as large as it is.
APART_NS = 11_000_000
#: Spacecraft seconds between updates of the progress bar.
_FILE_STEP_S = 1_800
#: Samples between updates of the progress bar.
_IQ_SAMPLES = 1 << 18

_EXAMPLES = """\
examples:
  python -m spacecraft_sim --scenario storm --output storm.cadu --duration 7200
      two hours of a solar storm into a file, as fast as possible
  python -m spacecraft_sim --speed 60 --link tcp://127.0.0.1:5602
      an hour a minute to whoever connects; light time from true geometry
  python -m spacecraft_sim --tracking day.tdm --duration 86400 --station YEOJU,37.2,127.6,100
      a day's range and Doppler of a station, as a CCSDS tracking data message
  python -m spacecraft_sim --iq pass.sigmf-meta --duration 60 --scenario storm
      the same downlink as a radio wave: I/Q samples with Doppler, noise and weather (SigMF)
  python -m spacecraft_sim --scenario optical --carrier optical --output light.cadu --duration 3600
      what an hour of clouds leaves of the optical downlink; l4 replay -m l4_relay_optical reads it
  python -m spacecraft_sim --light-time 0 --link tcp://127.0.0.1:5602
      without delay, for tests
"""


def _station(text: str) -> Station:
    name, *numbers = text.split(",")
    try:
        latitude_deg, longitude_deg, elevation_m = map(float, numbers)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r}: NAME,LATITUDE,LONGITUDE,METRES wanted"
        ) from None
    if not (abs(latitude_deg) <= 90 and abs(longitude_deg) <= 360):
        raise argparse.ArgumentTypeError(f"{text!r}: -90..90 and -360..360 degrees allowed")
    return Station(name.strip(), latitude_deg, longitude_deg, elevation_m)


def _antenna(text: str) -> tuple[str, str]:
    name, _, endpoint = text.partition("=")
    if not name or not endpoint:
        raise argparse.ArgumentTypeError(f"{text!r}: NAME=ENDPOINT wanted")
    return name, endpoint


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="python -m spacecraft_sim",
        description="The L4 relay spacecraft, its radio channel and the station's modem.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument(
        "--scenario",
        default="nominal",
        metavar="NAME|FILE",
        help=f"one of {', '.join(scenarios.names())}, or a TOML file (default: nominal)",
    )
    p.add_argument("--seed", type=int, default=1, help="of everything random (default: 1)")
    p.add_argument(
        "--light-time",
        type=float,
        metavar="S",
        help="fixed one-way light time in seconds, 0 for none (default: from true geometry)",
    )
    p.add_argument(
        "--start-utc",
        metavar="ISO",
        help=f"world time at the start (default: now; with --output {FILE_START_UTC})",
    )
    p.add_argument(
        "--station",
        type=_station,
        default=Station(),
        metavar="NAME,LAT,LON,M",
        help="whose antenna it is: degrees north and east, metres (default: Cebreros)",
    )
    p.add_argument("--duration", type=float, metavar="S", help="end after so many world seconds")

    live = p.add_argument_group("live downlink")
    live.add_argument("--link", metavar="ENDPOINT", help="bind here, as tcp://127.0.0.1:PORT")
    live.add_argument(
        "--antenna",
        type=_antenna,
        action="append",
        metavar="NAME=ENDPOINT",
        help="instead of --link, once for each of several antennas: what each hears in its own "
        "passes, bound there; NAME as in the pass list, or dsn for all of its antennas",
    )
    live.add_argument(
        "--keys",
        type=Path,
        metavar="DIR",
        help="keys directory with spacecraft_sim.key: the link then speaks CURVE with who is "
        "trusted there (default: none, and --link must be a loopback address)",
    )
    live.add_argument(
        "--speed", type=float, default=1.0, help="world seconds per second (default: 1)"
    )
    live.add_argument(
        "--clock-file", type=Path, metavar="FILE", help="the run's clock; excludes --speed"
    )
    live.add_argument(
        "--passes",
        type=Path,
        metavar="FILE",
        help="pass list (JSON); the link is up in its passes only (default: always)",
    )
    live.add_argument(
        "--stream", help="name of this run's chunks (default: unique to scenario, seed and time)"
    )
    live.add_argument(
        "--buffer-mib",
        type=int,
        default=DEFAULT_CAPACITY_OCTETS >> 20,
        help="unacknowledged octets the station keeps (default: %(default)s)",
    )

    file = p.add_argument_group("file")
    file.add_argument("--output", type=Path, metavar="FILE", help="write here, needs --duration")
    file.add_argument(
        "--content",
        choices=("cadus", "frames"),
        default="cadus",
        help="marker, randomised codeword; or the bare transfer frames (default: cadus)",
    )
    file.add_argument(
        "--carrier",
        choices=("x", "optical"),
        default="x",
        help="of --output: X band, or the optical downlink of a scenario that has one (default: x)",
    )
    file.add_argument(
        "--tracking",
        type=Path,
        metavar="FILE",
        help="write range and Doppler here (TDM), needs --duration",
    )
    file.add_argument(
        "--iq", type=Path, metavar="FILE", help="write I/Q samples here (SigMF), needs --duration"
    )
    file.add_argument(
        "--samples-per-symbol", type=float, default=4.0, metavar="N", help="of --iq (default: 4)"
    )
    file.add_argument(
        "--sample-format",
        choices=tuple(SAMPLE_FORMATS),
        default="ci16_le",
        help="of --iq (default: %(default)s)",
    )
    file.add_argument("--json", action="store_true", help="counts as JSON on standard output")
    return p


def light_time_model(fixed_s: float | None, station: Station) -> tuple[LightTime, Any]:
    """The model, and what has to be closed at the end."""
    if fixed_s is not None:
        if not 0 <= fixed_s <= 100_000:
            raise LocalError(f"--light-time {fixed_s}; 0..100000 s allowed")
        return FixedLightTime(fixed_s), None
    note = expiry_note(datetime.datetime.now(datetime.UTC).date(), station)
    if note is not None:
        print(f"spacecraft_sim: {note}", file=sys.stderr)
    ephemeris, timescale = open_ephemeris()
    return EphemerisLightTime(ephemeris, timescale, station), ephemeris


def write_file(options: argparse.Namespace, scenario: scenarios.Scenario) -> dict[str, Any]:
    """`duration` seconds of downlink as fast as possible; returns the counts."""
    from rich.console import Console
    from rich.progress import Progress

    start_ns = tai_ns_from_utc_iso(options.start_utc or FILE_START_UTC)
    by_light = options.carrier == "optical"
    if by_light and not scenario.optical.present:
        raise LocalError("--carrier optical: the scenario has none; present = true in [optical]")
    spacecraft = Spacecraft(scenario, seed=options.seed, start_ns=start_ns)
    # A file has no arrival times: the light time moves nothing in it.
    still = FixedLightTime(0.0)
    channel = Channel(scenario.channel, still, options.seed, spacecraft.start_ns)
    sky = OpticalChannel(scenario.optical, still, options.seed, spacecraft.start_ns)
    end_ns = spacecraft.start_ns + round(options.duration * 1e9)
    began = time.perf_counter()
    written = 0
    progress = Progress(console=Console(stderr=True), disable=not sys.stderr.isatty())
    with progress, FileOutput(options.output) as output:
        task = progress.add_task(options.output.name, total=options.duration)
        t_ns = spacecraft.start_ns
        while t_ns < end_ns:
            t_ns = min(t_ns + _FILE_STEP_S * 10**9, end_ns)
            # Frames that begin before the end: the last nanosecond is the next file's.
            downlink = spacecraft.step(t_ns - 1)
            sent = downlink.optical if by_light and downlink.optical is not None else downlink
            way = sky if by_light else channel
            if options.content == "cadus":
                received = way.downlink(sent.cadus, sent.cadu_ns)
            else:
                received = way.downlink(sent.frames, sent.emission_ns)
            output.write(received.cadus)
            written += len(received)
            progress.update(task, completed=(t_ns - spacecraft.start_ns) / 1e9)
        sha256 = output.sha256
    seconds = time.perf_counter() - began
    return {
        "output": str(options.output),
        "content": options.content,
        "frames": written,
        "octets": output.octets,
        "sha256": sha256,
        **(_optical_counts(sky) if by_light else _counts(channel)),
        "packets": spacecraft.packets_generated,
        "seconds": round(seconds, 3),
        "times_real_time": round(options.duration / seconds, 1),
    }


def _counts(channel: Channel) -> dict[str, int]:
    counts = channel.counts
    lost = counts.lost + counts.in_outage
    return {"sent": counts.sent, "lost": lost, "damaged": counts.damaged}


def _optical_counts(sky: OpticalChannel) -> dict[str, int]:
    counts = sky.counts
    return {"sent": counts.sent, "lost": counts.clouded, "bits_flipped": counts.bits_flipped}


def write_tracking(options: argparse.Namespace, scenario: scenarios.Scenario) -> dict[str, Any]:
    """Observables of `duration` seconds; returns the counts."""
    start_ns = tai_ns_from_utc_iso(options.start_utc or FILE_START_UTC)
    light_time, to_close = light_time_model(options.light_time, options.station)
    try:
        message = tracking_data(
            light_time,
            scenario.tracking,
            station=options.station.name,
            start_ns=start_ns,
            end_ns=start_ns + round(options.duration * 1e9),
            seed=options.seed,
        )
    finally:
        if to_close is not None:
            to_close.close()
    options.tracking.write_bytes(build_tdm(message))
    series = [one.series["RANGE"] for one in message.segments]
    return {
        "output": str(options.tracking),
        "station": options.station.name,
        "segments": len(series),
        "measurements": sum(len(one.times_tai_ns) for one in series),
    }


def write_iq(options: argparse.Namespace, scenario: scenarios.Scenario) -> dict[str, Any]:
    """`duration` seconds of samples from the reception time on; how they are heard."""
    from rich.console import Console
    from rich.progress import Progress

    from spacecraft_sim.adapters.sigmf_file import SigmfOutput
    from spacecraft_sim.radio_wave import X_DOWNLINK_HZ, RadioWave, waveform

    start_ns = tai_ns_from_utc_iso(options.start_utc or FILE_START_UTC)
    light_time, to_close = light_time_model(options.light_time, options.station)
    rate = options.samples_per_symbol * waveform(scenario).symbol_rate
    try:
        wave = RadioWave(
            scenario, light_time, start_ns=start_ns, seed=options.seed, sample_rate=rate
        )
        total = round(options.duration * rate)
        progress = Progress(console=Console(stderr=True), disable=not sys.stderr.isatty())
        description = f"{scenario.title}; {options.station.name}; {wave.waveform}"
        with (
            progress,
            SigmfOutput(
                options.iq,
                sample_format(options.sample_format),
                sample_rate=rate,
                frequency_hz=X_DOWNLINK_HZ,
                start_ns=start_ns,
                description=description,
            ) as output,
        ):
            task = progress.add_task(options.iq.name, total=total)
            while output.samples < total:
                output.write(wave.read(min(_IQ_SAMPLES, total - output.samples)))
                progress.update(task, completed=output.samples)
        hearing = wave.hearing(start_ns)
    finally:
        if to_close is not None:
            to_close.close()
    return {
        "output": str(output.meta),
        "samples": total,
        "sample_rate": rate,
        "symbol_rate": wave.waveform.symbol_rate,
        "first_frame": wave.first_frame,
        "doppler_hz": hearing.doppler_hz,
        "cn0_db_hz": hearing.cn0_db_hz,
        "ebn0_db": hearing.ebn0_db,
        "elevation_deg": hearing.elevation_deg,
    }


def _parent_is_gone() -> bool:
    """Under a supervisor standard input is a pipe that closes when it ends, however it ends."""
    if not os.environ.get("L4_EXIT_WITH_STDIN"):
        return False
    readable, _, _ = select.select([0], [], [], 0)
    return bool(readable) and not os.read(0, 4096)


def run_live(options: argparse.Namespace, scenario: scenarios.Scenario) -> None:
    """Until the duration is over or a signal comes."""
    stopping: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _frame: stopping.append(received))
    if options.clock_file is not None:
        clock = WorldClock.from_file(options.clock_file)
    else:
        start = None if options.start_utc is None else tai_ns_from_utc_iso(options.start_utc)
        clock = WorldClock.starting(options.speed, start)
    light_time, to_close = light_time_model(options.light_time, options.station)
    now_ns = clock.now_ns()
    owlt_ns = light_time.before_reception_ns(now_ns)
    spacecraft = Spacecraft(
        scenario, seed=options.seed, start_ns=now_ns - owlt_ns - WARM_UP_S * 10**9
    )
    channel = Channel(scenario.channel, light_time, options.seed, spacecraft.start_ns)
    started = utc_iso_from_tai_ns(spacecraft.start_ns, decimals=0)
    stream = options.stream or f"l4-{options.scenario}-{options.seed}-{started}-{time.time_ns():x}"
    antennas: list[tuple[str, str]] = options.antenna or [("", options.link)]
    buffers = [
        StationBuffer(f"{stream}-{name}" if name else stream, options.buffer_mib << 20)
        for name, _ in antennas
    ]
    keys = None if options.keys is None else StationKeys(options.keys)
    optical: OpticalDown | None = None
    others: tuple[StationBuffer, ...] = ()
    if scenario.optical.present:
        # The stream's name says which carrier it is to whoever receives.
        other = StationBuffer(f"{buffers[0].stream}/optical", options.buffer_mib << 20)
        sky = OpticalChannel(scenario.optical, light_time, options.seed, spacecraft.start_ns)
        optical = OpticalDown(sky, other, int(scenario.optical.downlink.cadu_duration_ns))
        others = (other,)
    stations: list[ZmqStation] = []
    try:
        for (_, endpoint), buffer in zip(antennas, buffers, strict=True):
            stations.append(ZmqStation(endpoint, buffer, keys, () if stations else others))
        where = ", ".join(
            f"{one.endpoint}, stream {buffer.stream}"
            for one, buffer in zip(stations, buffers, strict=True)
        )
        print(
            f"spacecraft_sim: {scenario.title}; light time {owlt_ns / 1e9:.3f} s, "
            f"{clock.speed:g} times real time, station at {where}",
            file=sys.stderr,
            flush=True,
        )
        passes = [
            None if options.passes is None else PassFile(options.passes, antenna=name)
            for name, _ in antennas
        ]
        tracking = passes[0]
        live = LiveDownlink(
            *(spacecraft, channel, buffers[0], stations[0], clock, tracking, optical),
            others=[
                Antenna(
                    buffers[number],
                    stations[number],
                    passes[number] or AlwaysTracking(),
                    number * APART_NS,
                )
                for number in range(1, len(antennas))
            ],
        )
        problem = ""
        end_ns = None if options.duration is None else now_ns + round(options.duration * 1e9)
        while not stopping and (end_ns is None or clock.now_ns() < end_ns):
            live.turn(PERIOD_S)
            if tracking is not None and tracking.problem != problem:
                problem = tracking.problem
                print(f"spacecraft_sim: {problem or 'pass list read'}", file=sys.stderr, flush=True)
            if _parent_is_gone():
                break
    finally:
        for station in stations:
            station.close()
        if to_close is not None:
            to_close.close()
    given_up = sum(buffer.lost for buffer in buffers)
    lost = f", {given_up} chunks given up for want of room" if given_up else ""
    if optical is not None:
        counts = optical.channel.counts
        lost += f", {counts.clouded} of {counts.sent} optical frames lost in clouds"
    if live.out_of_pass:
        lost += f", {live.out_of_pass} frames came in no pass"
    radiated = sum(one.radiated for one in live.transmitters)
    refused = sum(one.refused for one in live.transmitters)
    if radiated or refused:
        lost += f", {radiated} uplink messages radiated, {refused} refused"
    stored = sum(buffer.stored for buffer in buffers)
    acknowledged = sum(buffer.acknowledged + 1 for buffer in buffers)
    print(
        f"spacecraft_sim: stopped; {stored} chunks, {acknowledged} acknowledged{lost}",
        file=sys.stderr,
    )


def main(arguments: list[str] | None = None) -> int:
    """0: done; 2: the command or the scenario is wrong."""
    p = parser()
    options = p.parse_args(arguments)
    wanted = [options.link or options.antenna or None, options.output, options.tracking, options.iq]
    if sum(one is not None for one in wanted) != 1:
        p.error("one of --link, --output, --tracking, --iq is wanted")
    living = bool(options.link or options.antenna)
    if not living and not (options.duration and options.duration > 0):
        p.error("--output, --tracking and --iq need --duration, above 0")
    try:
        scenario = scenarios.load(options.scenario)
        if living:
            run_live(options, scenario)
            return 0
        if options.tracking is not None:
            counts = write_tracking(options, scenario)
        elif options.iq is not None:
            counts = write_iq(options, scenario)
        else:
            counts = write_file(options, scenario)
    except (LocalError, OSError, zmq.ZMQError) as error:
        print(f"spacecraft_sim: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(counts, indent=2))
    elif options.iq is not None:
        print(
            f"{counts['output']}: {counts['samples']} samples at {counts['sample_rate']:g} /s, "
            f"Doppler {counts['doppler_hz']:.0f} Hz, Eb/N0 {counts['ebn0_db']:.1f} dB, elevation "
            f"{counts['elevation_deg']:.0f} deg"
            + (", under the horizon" if counts["elevation_deg"] < 0 else "")
        )
    elif options.tracking is not None:
        print(
            f"{counts['output']}: {counts['measurements']} measurements of {counts['station']} in "
            f"{counts['segments']} segments"
        )
    else:
        print(
            f"{counts['output']}: {counts['frames']} {options.content}, {counts['octets']} octets, "
            f"{counts['packets']} packets, {counts['times_real_time']:.0f} times real time"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
