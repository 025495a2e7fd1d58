"""`l4 archive …`: look into the archive of a run, also while it is being written."""

from __future__ import annotations

import csv
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from protocols.errors import LocalError

archive_app = typer.Typer(
    help="Query, plot, check and export the archive, also while it is being written.",
    no_args_is_help=True,
)

S = 1_000_000_000
_RELATIVE = re.compile(r"(\d+(?:\.\d+)?)(s|min|h|d)")
_UNIT_S = {"s": 1, "min": 60, "h": 3600, "d": 86400}

Archive = Annotated[
    str,
    typer.Option("--archive", help="Run directory, SQLite file, or postgresql://USER@HOST/NAME."),
]
Start = Annotated[
    str, typer.Option("--from", help="UTC like 2026-11-22T21:00:00Z, or 10min, 3h, 30d back.")
]
Stop = Annotated[str, typer.Option("--to", help="UTC, or so long before the newest data.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]

DEFAULT_ARCHIVE = "var/run"


@contextmanager
def _store(archive: str) -> Iterator[Any]:
    from ground.archive.store import ArchiveStore
    from ground.config import load_settings
    from ground.server_address import is_address

    where: Path | str = archive if is_address(archive) else Path(archive)
    if isinstance(where, Path) and where.is_dir():
        where = load_settings(where).archive_read
    if isinstance(where, Path) and not where.is_file():
        raise FileNotFoundError(2, "no archive here; `l4 run` or `l4 replay` makes one", str(where))
    with ArchiveStore.open(where, read_only=True) as store:
        yield store


def _time_ns(text: str, newest_ns: int, default_ns: int) -> int:
    """UTC text, or an interval back from the newest data, as TAI nanoseconds."""
    from protocols.timecodes.tai import tai_ns_from_utc_iso

    if not text:
        return default_ns
    if match := _RELATIVE.fullmatch(text):
        return newest_ns - round(float(match[1]) * _UNIT_S[match[2]] * S)
    try:
        return tai_ns_from_utc_iso(text)
    except ValueError as error:
        raise LocalError(
            f"time {text!r}: UTC like 2026-11-22T21:00:00Z, or 10min, 3h, 30d back, wanted"
        ) from error


def _info(store: Any, name: str) -> Any:
    known = {info.name: info for info in store.parameters()}
    if name not in known and name.upper() in known:
        name = name.upper()
    if name not in known:
        import difflib

        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else "; see `l4 archive list`"
        raise LocalError(f"no parameter {name!r} in the archive{hint}")
    return known[name]


@archive_app.command("list", epilog="Example: l4 archive list BATTERY --json")
def list_(
    pattern: Annotated[str, typer.Argument(help="Only names that contain this.")] = "",
    archive: Archive = DEFAULT_ARCHIVE,
    json_: AsJson = False,
) -> None:
    """Archived parameters: unit, samples, first and last time."""
    import dataclasses

    from protocols.timecodes.tai import utc_iso_from_tai_ns

    with _store(archive) as store:
        found = [info for info in store.parameters() if pattern.upper() in info.name.upper()]
        counters = store.counters()
    if json_:
        rows = [
            dataclasses.asdict(info)
            | {"first_scet": utc_iso_from_tai_ns(info.first_scet_ns)}
            | {"last_scet": utc_iso_from_tai_ns(info.last_scet_ns)}
            for info in found
        ]
        print(json.dumps({"parameters": rows, "counters": counters}, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    if pattern and not found:
        raise LocalError(f"no parameter of the archive contains {pattern!r}")
    table = Table(box=None, header_style="dim")
    for title in ("parameter", "unit", "packet"):
        table.add_column(title, no_wrap=True)
    table.add_column("samples", justify="right")
    for title in ("first (SCET)", "last (SCET)"):
        table.add_column(title, no_wrap=True)
    for info in found:
        table.add_row(
            info.name,
            info.unit,
            ", ".join(info.definitions),
            f"{info.count:,}",
            utc_iso_from_tai_ns(info.first_scet_ns, decimals=0),
            utc_iso_from_tai_ns(info.last_scet_ns, decimals=0),
        )
    # Names are there to be copied: on a narrow screen lines wrap, nothing is shortened.
    console = Console()
    console = Console(width=max(console.width, 150), soft_wrap=True)
    console.print(table, crop=False)
    console.print(
        f"{len(found)} parameters; " + ", ".join(f"{k} {v:,}" for k, v in counters.items()),
        style="dim",
    )


@archive_app.command(
    epilog="Example: l4 archive query PWR_BUS_VOLTAGE --from 10min --json | jq .values"
)
def query(
    name: Annotated[str, typer.Argument(help="Parameter; `l4 archive list` names them.")],
    start: Start = "",
    stop: Stop = "",
    axis: Annotated[str, typer.Option(help="Select and order by scet or ert.")] = "scet",
    archive: Archive = DEFAULT_ARCHIVE,
    json_: AsJson = False,
) -> None:
    """Every sample of one parameter, as CSV (or JSON) on standard output."""
    from protocols.timecodes.tai import utc_iso_from_tai_ns

    if axis not in ("scet", "ert"):
        raise LocalError(f"--axis {axis!r}: scet or ert wanted")
    with _store(archive) as store:
        info = _info(store, name)
        name = info.name
        newest = info.last_scet_ns if axis == "scet" else info.last_ert_ns
        first = info.first_scet_ns if axis == "scet" else info.first_ert_ns
        samples = store.query(
            name, _time_ns(start, newest, first), _time_ns(stop, newest, newest + 1), axis
        )
    values = samples.texts() if samples.labels else samples.values.tolist()
    times = [
        [utc_iso_from_tai_ns(t, decimals=6) for t in column.tolist()]
        for column in (samples.scet_ns, samples.ert_ns)
    ]
    if json_:
        print(
            json.dumps(
                {"name": name, "unit": samples.unit, "scet": times[0], "ert": times[1]}
                | {"values": values, "valid": samples.valid.tolist()}
            )
        )
        return
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["scet_utc", "ert_utc", f"{name} [{samples.unit}]" if samples.unit else name])
    writer.writerows(zip(*times, values, strict=True))


@archive_app.command(epilog="Example: l4 archive plot PRO_INTEGRAL_FLUX --from 30d")
def plot(
    name: Annotated[str, typer.Argument(help="Parameter; `l4 archive list` names them.")],
    start: Start = "",
    stop: Stop = "",
    archive: Archive = DEFAULT_ARCHIVE,
    json_: AsJson = False,
) -> None:
    """One parameter over time, in the terminal: mean, and the band between minimum and maximum."""
    from protocols.timecodes.tai import utc_iso_from_tai_ns

    with _store(archive) as store:
        info = _info(store, name)
        name = info.name
        begin = _time_ns(start, info.last_scet_ns, info.first_scet_ns)
        end = _time_ns(stop, info.last_scet_ns, info.last_scet_ns + 1)
        reduced = store.plot(name, begin, end, points=1600 if json_ else 160)
    if json_:
        columns = ("time_ns", "minimum", "maximum", "mean", "count")
        arrays = {column: getattr(reduced, column).tolist() for column in columns}
        print(
            json.dumps({"name": name, "unit": reduced.unit, "width_ns": reduced.width_ns} | arrays)
        )
        return
    if not len(reduced):
        raise LocalError(f"{name}: no samples between --from and --to")
    import plotext

    seconds = ((reduced.time_ns - reduced.time_ns[0]) / S).tolist()
    plotext.plot_size(height=22)
    # Points, not lines: a line through a gap would claim what nobody measured.
    bands = (reduced.minimum, reduced.maximum) if reduced.width_ns else ()
    for values in bands:
        plotext.scatter(seconds, values.tolist(), marker="braille", color="gray")
    plotext.scatter(seconds, reduced.mean.tolist(), marker="braille", color="cyan")
    ticks = sorted({0, len(seconds) // 3, 2 * len(seconds) // 3, len(seconds) - 1})
    labels = [utc_iso_from_tai_ns(int(reduced.time_ns[i]), decimals=0) for i in ticks]
    plotext.xticks([seconds[i] for i in ticks], labels)
    if reduced.labels:
        shown = {int(value) for value in reduced.minimum.tolist() + reduced.maximum.tolist()}
        plotext.yticks(sorted(shown), [reduced.labels.get(c, str(c)) for c in sorted(shown)])
    unit = f" [{reduced.unit}]" if reduced.unit else ""
    every = f", mean and extremes of {reduced.width_ns / S:g} s each" if reduced.width_ns else ""
    plotext.title(f"{name}{unit}{every}")
    plotext.xlabel("SCET (UTC)")
    plotext.theme("default" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else "clear")
    picture = plotext.build()
    plain = not sys.stdout.isatty() or "NO_COLOR" in os.environ
    print(plotext.uncolorize(picture) if plain else picture)


@archive_app.command(epilog="Example: l4 archive packets --apid 16 --from 1h --hex")
def packets(
    apid: Annotated[int | None, typer.Option(help="Only this APID.")] = None,
    vcid: Annotated[int | None, typer.Option(help="Only this virtual channel.")] = None,
    start: Start = "",
    stop: Stop = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many, from the beginning.")] = 1000,
    hex_: Annotated[bool, typer.Option("--hex", help="Show the octets.")] = False,
    archive: Archive = DEFAULT_ARCHIVE,
    json_: AsJson = False,
) -> None:
    """Archived packets in order of Earth receive time."""
    import itertools

    from protocols.timecodes.tai import utc_iso_from_tai_ns

    with _store(archive) as store:
        newest = max((info.last_ert_ns for info in store.parameters()), default=0)
        found = store.packets(
            apid=apid,
            vcid=vcid,
            start_ns=_time_ns(start, newest, -(2**63) + 1),
            stop_ns=_time_ns(stop, newest, 2**63 - 1),
        )
        for packet in itertools.islice(found, limit):
            scet = "" if packet.scet_ns is None else utc_iso_from_tai_ns(packet.scet_ns)
            ert = utc_iso_from_tai_ns(packet.ert_ns)
            if json_:
                row = {"number": packet.number, "stream": packet.stream, "vcid": packet.vcid}
                row |= {"apid": packet.apid, "sequence_count": packet.sequence_count}
                row |= {"scet": scet, "ert": ert, "playback": packet.playback}
                print(json.dumps(row | {"octets": packet.octets.hex()}))
                continue
            stored = " stored" if packet.playback else ""
            print(
                f"{packet.number:>8}  VC {packet.vcid:<2} APID {packet.apid:<4} "
                f"#{packet.sequence_count:<5} SCET {scet}  ERT {ert}  "
                f"{len(packet.octets):>5} octets{stored}"
            )
            if hex_:
                print("          " + packet.octets.hex(" ", -2))


@archive_app.command(
    epilog="Example: l4 archive events --json | jq 'select(.severity==\"critical\")'"
)
def events(
    start: Start = "",
    stop: Stop = "",
    archive: Archive = DEFAULT_ARCHIVE,
    json_: AsJson = False,
) -> None:
    """Archived events: limit transitions, spacecraft events, staleness."""
    import dataclasses

    from protocols.timecodes.tai import utc_iso_from_tai_ns

    with _store(archive) as store:
        found = list(store.events())
        newest = max((event.scet_ns for event in found), default=0)
        begin = _time_ns(start, newest, -(2**63))
        end = _time_ns(stop, newest, 2**63 - 1)
    for event in found:
        if begin <= event.scet_ns < end:
            if json_:
                print(json.dumps(dataclasses.asdict(event)))
            else:
                stored = " [stored]" if event.playback else ""
                when = utc_iso_from_tai_ns(event.scet_ns)
                print(f"{when} {event.severity:<8} {event.name}: {event.text}{stored}")


@archive_app.command(
    epilog="Examples: l4 archive export out/ · l4 archive export volts.csv -p PWR_BUS_VOLTAGE"
)
def export(
    target: Annotated[Path, typer.Argument(help="Folder (a file per packet), or .csv/.parquet.")],
    parameters: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", help="Only these; needs a file.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="parquet or csv, for a folder.")] = "",
    start: Start = "",
    stop: Stop = "",
    archive: Archive = DEFAULT_ARCHIVE,
) -> None:
    """Export to Parquet or CSV; types and units go along; a file appears when it is complete."""
    from rich.progress import Progress

    kind = form or target.suffix.lstrip(".") or "parquet"
    if kind not in ("csv", "parquet"):
        raise LocalError(f"format {kind!r}: csv or parquet wanted (--format, or the file's ending)")
    if bool(parameters) != bool(target.suffix):
        raise LocalError(
            f"{target}: a folder takes everything, a .csv or .parquet file takes parameters named "
            "with --parameter"
        )
    with _store(archive) as store, Progress(disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("export", total=None)
        newest = max((info.last_scet_ns for info in store.parameters()), default=0)
        write = store.export_csv if kind == "csv" else store.export_parquet
        files = write(
            target,
            names=parameters,
            start_ns=_time_ns(start, newest, -(2**63) + 1),
            stop_ns=_time_ns(stop, newest, 2**63 - 1),
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    for file in files:
        print(file)


@archive_app.command(epilog="Example: l4 archive check && echo sound")
def check(archive: Archive = DEFAULT_ARCHIVE, json_: AsJson = False) -> None:
    """Look for damage. Exit status 1 if there is any."""
    with _store(archive) as store:
        integrity = store.integrity()
    if json_:
        print(json.dumps({"ok": integrity.ok, "problems": list(integrity.problems)}))
    else:
        print("\n".join(integrity.problems) or "no problem found")
    raise typer.Exit(0 if integrity.ok else 1)
