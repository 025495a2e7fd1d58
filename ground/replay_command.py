"""`l4 replay` and `l4 missions`: any capture through the receive chain."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from protocols.errors import LocalError

if TYPE_CHECKING:
    from ground.receive.profile import LinkProfile
    from ground.receive.radio_receiver import Expect
    from ground.receive.replay import Progress, ReplaySink

_LINK = "Link parameters (laid over --mission)"
_CODING = "Channel coding of CADUs and codewords"


def _flag(text: str, panel: str = _LINK, **more: Any) -> Any:
    return typer.Option(help=text, rich_help_panel=panel, show_default=False, **more)


def replay(
    file: Annotated[str, typer.Argument(help="Capture file or directory; - is standard input.")],
    mission: Annotated[
        str | None, typer.Option("--mission", "-m", help="Profile name (`l4 missions`) or TOML.")
    ] = None,
    summary: Annotated[
        str | None, typer.Option(help="What to print: text, json, none.", show_default="text")
    ] = None,
    pace: Annotated[
        str, typer.Option(help="full, recorded, or a factor: 60 is 60 times as recorded.")
    ] = "full",
    archive: Annotated[
        str, typer.Option(help="Put packets and parameters into this archive (file or server).")
    ] = "",
    parquet: Annotated[
        Path | None, typer.Option(help="Put parameters into Parquet files here, one a packet type.")
    ] = None,
    packets_out: Annotated[
        Path | None, typer.Option("--packets", help="Write the packets back to back to this file.")
    ] = None,
    opaque_out: Annotated[
        Path | None,
        typer.Option("--opaque", help="Write data zones that are not packets to this file."),
    ] = None,
    live: Annotated[
        Path | None,
        typer.Option(help="Be the receiver of this run directory: its services get everything."),
    ] = None,
    progress: Annotated[
        bool | None, typer.Option("--progress/--no-progress", help="Default: on a terminal.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="UDP port to take from a pcap.")] = None,
    start: Annotated[
        str, typer.Option("--ert", help="UTC of the first octet, for captures without times.")
    ] = "",
    frames: Annotated[str | None, _flag("tm, aos or uslp")] = None,
    frame_length: Annotated[int | None, _flag("octets of a frame as given")] = None,
    fecf: Annotated[str | None, _flag("present, absent or crc32")] = None,
    ocf: Annotated[str | None, _flag("present or absent")] = None,
    insert_zone: Annotated[int | None, _flag("octets of the insert zone")] = None,
    scid: Annotated[str | None, _flag("spacecraft identifier, or any")] = None,
    content: Annotated[
        str | None, _flag("data fields: packets, aligned-packets, bitstream, opaque")
    ] = None,
    opaque_vc: Annotated[str | None, _flag("virtual channels without packets: 2,5")] = None,
    packet_versions: Annotated[str | None, _flag("packet version numbers to extract: 0,7")] = None,
    header_error_control: Annotated[str | None, _flag("present or absent (AOS)")] = None,
    dictionary: Annotated[str | None, _flag("l4, or an XTCE file")] = None,
    bit_rate: Annotated[float | None, _flag("bits per second, as received")] = None,
    input_: Annotated[
        str | None,
        typer.Option(
            "--input",
            help="frames, cadu, codewords, packets, pcap, capture",
            rich_help_panel=_LINK,
            show_default=False,
        ),
    ] = None,
    count_cycle: Annotated[str | None, _flag("present or absent (AOS frame count cycle)")] = None,
    truncated_length: Annotated[int | None, _flag("octets of a truncated USLP frame")] = None,
    key_file: Annotated[str | None, _flag("file with the key of encrypted frames")] = None,
    spi: Annotated[int | None, _flag("security parameter index of encrypted frames")] = None,
    mac_length: Annotated[int | None, _flag("octets of their MAC, 16 unless told")] = None,
    asm: Annotated[str | None, _flag("sync marker in hexadecimal", _CODING)] = None,
    marker_errors: Annotated[int | None, _flag("wrong bits allowed in a marker", _CODING)] = None,
    flywheel: Annotated[int | None, _flag("markers that may be missed in a row", _CODING)] = None,
    bit_aligned: Annotated[str | None, _flag("look at every bit: yes or no", _CODING)] = None,
    inverted: Annotated[str | None, _flag("accept the complement: yes or no", _CODING)] = None,
    randomiser: Annotated[str | None, _flag("none, ccsds or ccsds-long", _CODING)] = None,
    rs_parity: Annotated[int | None, _flag("32 (E=16), 16 (E=8), 0 (none)", _CODING)] = None,
    rs_interleave: Annotated[int | None, _flag("interleaving depth 1..8", _CODING)] = None,
    rs_virtual_fill: Annotated[int | None, _flag("fill octets a codeword", _CODING)] = None,
    rs_basis: Annotated[str | None, _flag("dual or conventional", _CODING)] = None,
    rs_known_prefix: Annotated[
        str | None, _flag("octets the encoder covered but did not send", _CODING)
    ] = None,
    turbo: Annotated[
        str | None, _flag("rate of the turbo code: 1/2, 1/3, 1/4, 1/6", _CODING)
    ] = None,
    ldpc: Annotated[
        str | None, _flag('LDPC code: C2, or as "AR4JA 1/2 1024": rate, bits', _CODING)
    ] = None,
    ldpc_slice: Annotated[
        int | None, _flag("a stream of frames in codeblocks of 1..8 codewords", _CODING)
    ] = None,
    csm: Annotated[
        str | None, _flag("sync marker of such codeblocks, in hexadecimal", _CODING)
    ] = None,
) -> None:
    """Decode a capture: raw frames, CADUs, packets, pcap(ng), or our own captures."""
    from ground.receive.inputs import CHOICES
    from ground.receive.profile import load_profile
    from ground.receive.replay import replay as run_replay
    from protocols.timecodes.tai import tai_ns_from_unix_ns, tai_ns_from_utc_iso

    if summary not in (None, "text", "json", "none"):
        raise LocalError(f"--summary {summary!r}: text, json or none wanted")
    if input_ is not None and input_ not in CHOICES:
        raise LocalError(f"--input {input_!r}: one of {', '.join(CHOICES)} wanted")
    flags: dict[str, Any] = {
        "frames": frames,
        "frame_length": frame_length,
        "fecf": fecf,
        "ocf": ocf,
        "insert_zone": insert_zone,
        "scid": scid,
        "content": content,
        "opaque_vc": opaque_vc,
        "packet_versions": packet_versions,
        "header_error_control": header_error_control,
        "dictionary": dictionary,
        "bit_rate": bit_rate,
        "count_cycle": count_cycle,
        "truncated_length": truncated_length,
        "key_file": key_file,
        "spi": spi,
        "mac_length": mac_length,
        "asm": asm,
        "marker_errors": marker_errors,
        "flywheel": flywheel,
        "bit_aligned": bit_aligned,
        "inverted": inverted,
        "randomiser": randomiser,
        "rs_parity": rs_parity,
        "rs_interleave": rs_interleave,
        "rs_virtual_fill": rs_virtual_fill,
        "rs_basis": rs_basis,
        "rs_known_prefix": rs_known_prefix,
        "turbo": turbo,
        "ldpc": ldpc,
        "ldpc_slice": ldpc_slice,
        "csm": csm,
    }
    if input_ == "packets":
        flags["input"] = input_  # packets have no frame length to be given
    given = {name: value for name, value in flags.items() if value is not None}
    profile = load_profile(mission, **given) if mission is not None or given else None
    # What is kept needs some time of arrival: if nobody knows it, it is now.
    kept = archive or parquet or live
    unknown_ns = tai_ns_from_unix_ns(time.time_ns()) if kept else 0
    ert_ns = tai_ns_from_utc_iso(start) if start else unknown_ns
    if live is not None:
        _replay_live(file, profile, live, _pace(pace), input_, port, ert_ns)
        return
    show = sys.stderr.isatty() if progress is None else progress
    with ExitStack() as stack:
        sinks: list[ReplaySink] = []
        if packets_out is not None:
            sinks.append(_OctetFile(stack.enter_context(packets_out.open("wb")), "packets"))
        if opaque_out is not None:
            sinks.append(_OctetFile(stack.enter_context(opaque_out.open("wb")), "opaque"))
        if archive:
            from ground.wiring import open_archive_sink

            name = profile.dictionary if profile is not None else None
            sinks.append(stack.enter_context(open_archive_sink(archive, name, Path(file).name)))
        if parquet is not None:
            from ground.wiring import open_parquet_sink

            name = profile.dictionary if profile is not None else None
            sinks.append(stack.enter_context(open_parquet_sink(parquet, name)))
        result = run_replay(
            sys.stdin.buffer if file == "-" else Path(file),
            profile,
            input=input_,
            port=port,
            pace=_pace(pace),
            ert_ns=ert_ns,
            # Nothing but the JSON shows them, and hashing takes longer than decoding.
            digests=summary == "json",
            prediction=_prediction,
            sinks=sinks,
            progress=stack.enter_context(_progress_bar()) if show else None,
        )
    if summary == "json":
        print(json.dumps(result.summary, indent=1))
    elif summary != "none":
        _print_summary(result.summary, result.notes)
    usable = _say_if_wrong(result.summary)
    raise typer.Exit(0 if usable else 1)


def missions(
    name: Annotated[str | None, typer.Argument(help="Show this profile whole.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Mission profiles: the link parameters that `--mission` names."""
    from ground.receive.profile import load_profile
    from ground.receive.profile import missions as known

    if name is not None:
        print(json.dumps(load_profile(name).describe(), indent=2))
        return
    profiles = [load_profile(mission) for mission in known()]
    if json_:
        print(json.dumps([profile.describe() for profile in profiles], indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="dim")
    for title in ("mission", "frames", "octets", "SCID", "spacecraft"):
        table.add_column(title, justify="right" if title in ("octets", "SCID") else "left")
    for profile in profiles:
        scid = "any" if profile.scid is None else str(profile.scid)
        table.add_row(
            profile.name, profile.kind or "–", str(profile.frame_length), scid, profile.title
        )
    Console().print(table)


def _channel(item: tuple[str, Any]) -> tuple[int, ...]:
    """Order of channels: "3", or "76/3" with several spacecraft in the capture."""
    return tuple(int(part) for part in item[0].split("/"))


def _prediction(profile: LinkProfile) -> Expect | None:
    # Only where a capture holds I/Q samples.
    from ground.wiring_radio import open_prediction

    return open_prediction(profile)


def _pace(text: str) -> float | None:
    if text == "full":
        return None
    if text == "recorded":
        return 1.0
    try:
        factor = float(text.rstrip("×x"))
    except ValueError:
        factor = 0.0
    if not factor > 0:
        raise LocalError(f"--pace {text!r}: full, recorded, or a factor above 0 wanted")
    return factor


class _OctetFile:
    """Packets, or data zones that are not packets, back to back."""

    def __init__(self, file: Any, what: str) -> None:
        self._file = file
        self._what = what

    def take(self, output: Any, chain: Any) -> None:
        self._file.write(getattr(output, self._what).octets)

    def finish(self, chain: Any) -> None:
        self._file.flush()


class _progress_bar:
    """Octets against the file's size, with frames and packets so far."""

    def __enter__(self) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            BarColumn(),
            DownloadColumn(),
            TextColumn("{task.fields[found]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._bar.start()
        task = self._bar.add_task("replay", total=None, found="")

        def update(progress: Progress) -> None:
            found = f"{progress.frames:,} frames, {progress.packets:,} packets"
            self._bar.update(
                task, completed=progress.octets, total=progress.total_octets, found=found
            )

        return update

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


def _replay_live(
    file: str,
    profile: LinkProfile | None,
    run_dir: Path,
    pace: float | None,
    input_: str | None,
    port: int | None,
    ert_ns: int,
) -> None:
    """In the place of `receive`, until those who follow it have taken everything."""
    from dataclasses import replace

    from ground.__main__ import end_of_service
    from ground.adapters.file_link import FileLink
    from ground.config import load_settings
    from ground.live_view import Followers
    from ground.receive.replay import open_timed
    from ground.supervisor import EXIT_WITH_STDIN
    from ground.wiring import open_viewer
    from ground.wiring_services import replay_as_receiver

    if profile is None:
        raise LocalError("--live wants --mission or link parameters")
    if not (run_dir / "run.toml").is_file():
        raise LocalError(f"--live {run_dir}: no run there; `l4 run --replay FILE` starts one")
    settings = load_settings(run_dir)
    source = sys.stdin.buffer if file == "-" else Path(file)
    opened = open_timed(source, profile, input=input_, port=port, pace=pace, ert_ns=ert_ns)
    with opened as timed, closing(open_viewer(settings, "l4-replay", topics=("status",))) as bus:
        pieces = ((piece.octets, piece.ert_ns) for piece in timed.pieces)
        link = FileLink(settings.link_name, Path(file).name, pieces)
        told = end_of_service()
        followers = Followers(bus)
        profile = replace(profile, input=timed.opened.kind)
        print(timed.opened.statement, file=sys.stderr)
        # Under a supervisor it stays, for those who join later.
        stays = bool(os.environ.get(EXIT_WITH_STDIN))
        replay_as_receiver(
            settings,
            profile,
            link,
            lambda: told() or (not stays and link.at_end and followers.done()),
        )


def _say_if_wrong(summary: Mapping[str, Any]) -> bool:
    """Counts alone look like success: say when flags cannot be right.  False: nothing usable."""
    frames = summary.get("frames", 0)
    vcs: Mapping[str, Any] = summary.get("vcs", {})
    good = sum(vc.get("frames", 0) for vc in vcs.values())
    packets = sum(vc.get("space_packets", 0) for vc in vcs.values()) or summary.get(
        "space_packets", 0
    )
    if not frames and not packets:
        print("l4: nothing was found in the input", file=sys.stderr)
        return False
    lost = {
        words: summary.get(key) or 0
        for key, words in (
            (
                "foreign_frames",
                "of another version or spacecraft: --frames, --scid, --frame-length",
            ),
            ("crc_fail", "with a wrong CRC: --fecf, --frame-length"),
            ("uncorrectable_frames", "not correctable: --rs-…, --randomiser"),
        )
    }
    words, most = max(lost.items(), key=lambda item: item[1])
    if frames and 2 * most > frames:
        seen = json.dumps(summary.get("version_counts")) if summary.get("version_counts") else ""
        versions = f"; frame versions seen: {seen} (0 TM, 1 AOS, 12 USLP)" if seen else ""
        print(f"l4: {most:,} of {frames:,} frames {words}{versions}", file=sys.stderr)
    return bool(good or packets)


def _print_summary(summary: Mapping[str, Any], notes: list[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(summary.get("detected", ""), style="dim")
    for note in notes:
        console.print(note, style="dim")
    head = Table.grid(padding=(0, 2))
    for key, value in summary.items():
        if isinstance(value, (str, int)) and key not in ("detected",) and "sha256" not in key:
            bad = key in ("crc_fail", "foreign_frames", "trailing_bytes") and value
            head.add_row(key.replace("_", " "), f"[bold yellow]{value}[/]" if bad else str(value))
    for key in ("corrections_histogram", "skipped", "damaged"):
        if summary.get(key):
            head.add_row(key.replace("_", " "), json.dumps(summary[key]))
    console.print(head)
    vcs: Mapping[str, Any] = summary.get("vcs", {})
    table = Table(box=None, header_style="dim")
    for title in ("VC", "frames", "gaps", "missing", "repeats", "packets", "content"):
        table.add_column(title, justify="left" if title == "content" else "right")
    for vcid, vc in sorted(vcs.items(), key=_channel):
        counter = vc.get("counter", {})
        gaps = counter.get("discontinuities", 0)
        missing = counter.get("missing_frames", counter.get("missing_frames_mod256_lower_bound", 0))
        apids = vc.get("apids", {})
        content = ", ".join(f"APID {apid}: {a['count']:,}" for apid, a in list(apids.items())[:6])
        if len(apids) > 6:
            content += f", {len(apids) - 6} more"
        table.add_row(
            vcid,
            f"{vc['frames']:,}",
            f"[bold yellow]{gaps:,}[/]" if gaps else "0",
            f"{missing:,}",
            f"{counter.get('repeats', 0):,}",
            f"{vc.get('space_packets', 0):,}",
            content or vc.get("content", "no packets"),
        )
    if vcs:
        console.print(table)
