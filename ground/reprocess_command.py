"""`l4 reprocess`: years of captures decoded again, by as many machines as there are."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from protocols.errors import LocalError

if TYPE_CHECKING:
    from ground.reprocess.run import Progress, Tell

EPILOG = (
    "Examples: `l4 reprocess var/run/capture --out years` · "
    "`l4 reprocess 2025/capture 2026/capture --out /data/years` · "
    "`l4 reprocess 2026/capture --out /data/2026 --cluster tls://head:8786 --tls-ca ca.pem "
    "--tls-cert me.pem --tls-key me.key`\n\n"
    "The same command again goes on where it was interrupted, and takes up what was captured "
    "since. What comes out: years/day=2026-11-28/part-0000/POWER.parquet …, "
    "years/manifest.json.\n\n"
    'Read it: duckdb -c "select day, count(*) from read_parquet('
    "'years/day=*/part-*/POWER.parquet', hive_partitioning=true) group by day\"; pandas, polars, "
    "clusters: docs/howto/reprocess-years.md"
)
_CLUSTER = "Dask cluster"


def reprocess(
    captures: Annotated[
        list[Path], typer.Argument(help="Capture directories of `receive`, the oldest first.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Directory of the results.")],
    mission: Annotated[
        str, typer.Option("--mission", "-m", help="Link profile; `l4 missions` names them.")
    ] = "l4_relay",
    cluster: Annotated[
        str,
        typer.Option(
            help="local, or a Dask scheduler: tls://HOST:PORT, or tcp:// on this machine.",
            rich_help_panel=_CLUSTER,
        ),
    ] = "local",
    workers: Annotated[
        int,
        typer.Option(
            min=-1,
            help="Processes with --cluster local; 0: only this one; -1: as many as cores.",
            rich_help_panel=_CLUSTER,
        ),
    ] = -1,
    tls_ca: Annotated[
        Path | None,
        typer.Option("--tls-ca", help="Whose certificates are believed.", rich_help_panel=_CLUSTER),
    ] = None,
    tls_cert: Annotated[
        Path | None,
        typer.Option("--tls-cert", help="This end's certificate.", rich_help_panel=_CLUSTER),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option("--tls-key", help="The certificate's key.", rich_help_panel=_CLUSTER),
    ] = None,
    part_mib: Annotated[
        int, typer.Option("--part-mib", min=1, help="A day of more than this is several parts.")
    ] = 256,
    overlap_mib: Annotated[
        int, typer.Option("--overlap-mib", min=1, help="Decoded before each part, to begin with.")
    ] = 4,
    progress: Annotated[
        bool | None, typer.Option("--progress/--no-progress", help="Default: on a terminal.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Decode captures into Parquet, a directory a day, in parallel. Ctrl-C and again: it goes on.

    What comes out is what one process gets that reads the captures once, each packet in it once:
    in the part of the day (UTC) in which its last octet was received. Workers of a cluster see
    captures and results under the same paths and have this very version installed. Captures that
    grow, by a receiver at work, are taken up to their present end.
    """
    from ground.receive.profile import load_profile
    from ground.reprocess.cluster import ClusterError, Tls, open_cluster
    from ground.reprocess.run import MIB
    from ground.reprocess.run import reprocess as run

    for capture in captures:
        if not capture.exists():
            raise LocalError(f"{capture}: no such capture")
    tls = None
    if tls_ca is not None and tls_cert is not None and tls_key is not None:
        tls = Tls(tls_ca, tls_cert, tls_key)
    elif tls_ca or tls_cert or tls_key:
        raise LocalError("--tls-ca, --tls-cert and --tls-key go together")
    profile = load_profile(mission)
    if profile.security is not None and cluster.startswith("tcp:"):
        raise LocalError(f"--cluster {cluster}: keys of {mission} go over tls:// only")
    count = workers if workers >= 0 else os.cpu_count() or 1
    began = time.monotonic()
    show = sys.stderr.isatty() if progress is None else progress
    try:
        with open_cluster(cluster, count, tls) as opened, _bar(show) as tell:
            started = time.monotonic()
            summary = run(
                [capture.resolve() for capture in captures],
                out.resolve(),
                profile,
                opened,
                part_octets=part_mib * MIB,
                overlap=overlap_mib * MIB,
                progress=tell,
            )
            summary["working_seconds"] = round(time.monotonic() - started, 3)
    except ClusterError as error:
        raise LocalError(
            f"the cluster gave up ({error}); what is finished is kept, the same command goes on"
        ) from error
    except OSError as error:
        raise LocalError(
            f"{error.filename or out}: {error.strerror or error}; what is finished is kept, the "
            "same command goes on"
        ) from error
    summary["seconds"] = round(time.monotonic() - began, 3)
    if json_:
        print(json.dumps(summary))
    else:
        _tell(summary, out)


def _tell(summary: dict[str, Any], out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    days, kept_days = summary["days"], summary["kept_days"]
    table = Table("day (UTC)", box=None, pad_edge=False)
    for name in ("parts", "packets", "rows", "captured MB", "Parquet MB", ""):
        table.add_column(name, justify="right")
    shown = list(days.items())
    if len(shown) > 2 * SHOWN_DAYS:
        shown = [*shown[:SHOWN_DAYS], ("…", None), *shown[-SHOWN_DAYS:]]
    for day, found in shown:
        if found is None:
            table.add_row(f"… {len(days) - 2 * SHOWN_DAYS} more")
            continue
        kept = kept_days.get(day, 0)
        table.add_row(
            day,
            f"{found['parts']:,}",
            f"{found['packets']:,}",
            f"{found['rows']:,}",
            f"{found['capture_octets'] / 1e6:,.1f}",
            f"{found['octets'] / 1e6:,.1f}",
            "kept" if kept == found["parts"] else f"{kept} kept" if kept else "",
        )
    Console(highlight=False).print(table)
    parts, kept = len(summary["parts"]), summary["kept"]
    done = "" if not kept else f", {kept} of them kept from before"
    again = f", {summary['again']} decoded more than once" if summary["again"] else ""
    rate = summary["capture_octets"] / 1e6 / max(summary["working_seconds"], 1e-9)
    pace = f"; {rate:,.1f} MB/s" if not kept else ""
    print(
        f"{summary['packets']:,} packets of {len(days)} days in {parts} parts{done}{again}, in "
        f"{summary['seconds']:,.1f} s{pace}; {out}/manifest.json"
    )
    for warning in summary["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)


#: Days at each end of a long table.
SHOWN_DAYS = 15


@contextmanager
def _bar(show: bool) -> Iterator[Tell | None]:
    if not show:
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(),
        TransferSpeedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("looking through the captures", total=None)
        decoding = False

        def tell(now: Progress) -> None:
            nonlocal decoding, task
            if now.total_parts and not decoding:
                # A bar of its own: the time left is reckoned from the pace of decoding alone.
                decoding = True
                bar.update(task, visible=False)
                task = bar.add_task("", total=None)
            if now.total_parts:
                again = f", {now.again} again" if now.again else ""
                bar.update(
                    task,
                    description=f"{now.parts:,}/{now.total_parts:,} parts{again}",
                    completed=max(0, now.octets - now.kept),
                    total=now.total_octets - now.kept,
                )
            else:
                bar.update(task, completed=now.octets, total=now.total_octets)

        yield tell


__all__ = ["EPILOG", "reprocess"]
