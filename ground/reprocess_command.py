"""`l4 reprocess`: years of captures decoded again, by as many machines as there are."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from protocols.errors import LocalError

EPILOG = (
    "Examples: `l4 reprocess var/run/capture --out years` · "
    "`l4 reprocess 2024/capture 2025/capture -m l4_relay --out /data/years "
    "--cluster tcp://head:8786`\n\n"
    'Read it with: duckdb -c "select day, count(*) from read_parquet('
    "'years/day=*/part-*/EPS_HK.parquet', hive_partitioning=true) group by day\""
)


def reprocess(
    captures: Annotated[
        list[Path], typer.Argument(help="Capture directories of `receive`, the oldest first.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Directory of the results.")],
    mission: Annotated[
        str, typer.Option("--mission", "-m", help="Link profile; `l4 missions` names them.")
    ] = "l4_relay",
    cluster: Annotated[
        str, typer.Option(help="local, or a Dask scheduler: tcp://HOST:PORT or tls://HOST:PORT.")
    ] = "local",
    workers: Annotated[
        int, typer.Option(min=-1, help="Processes with --cluster local; 0: only this one.")
    ] = -1,
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

    Each packet is in one part, that of the day (UTC) on which its last octet was received. Workers
    of a cluster see captures and results under the same paths, and have this version installed.
    """
    from ground.receive.profile import load_profile
    from ground.reprocess.cluster import ClusterError, open_cluster
    from ground.reprocess.run import MIB
    from ground.reprocess.run import reprocess as run

    for capture in captures:
        if not capture.exists():
            raise LocalError(f"{capture}: no such capture")
    profile = load_profile(mission)
    if profile.security is not None and cluster.startswith("tcp:"):
        raise LocalError(f"--cluster {cluster}: keys of {mission} go over tls:// only")
    count = workers if workers >= 0 else os.cpu_count() or 1
    began = time.monotonic()
    show = sys.stderr.isatty() if progress is None else progress
    try:
        with open_cluster(cluster, count) as opened, _bar(show) as tell:
            summary = run(
                [capture.resolve() for capture in captures],
                out.resolve(),
                profile,
                opened,
                part_octets=part_mib * MIB,
                overlap=overlap_mib * MIB,
                progress=tell,
            )
    except ClusterError as error:
        raise LocalError(
            f"the cluster gave up ({error}); what is finished is kept, the same command goes on"
        ) from error
    summary["seconds"] = round(time.monotonic() - began, 3)
    if json_:
        print(json.dumps(summary))
        return
    kept = f", {summary['kept']} kept" if summary["kept"] else ""
    again = f", {summary['again']} decoded again with more overlap" if summary["again"] else ""
    rate = summary["capture_octets"] / 1e6 / max(summary["seconds"], 1e-9)
    print(
        f"{summary['packets']:,} packets of {len(summary['days'])} days in "
        f"{len(summary['parts'])} parts{kept}{again}; {rate:,.1f} MB/s; {out}/manifest.json"
    )


def _bar(show: bool):
    from contextlib import contextmanager

    @contextmanager
    def opened():
        if not show:
            yield None
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        columns = (
            TextColumn("{task.description}"), BarColumn(), DownloadColumn(),
            TransferSpeedColumn(), TimeRemainingColumn(),
        )  # fmt: skip
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("looking through the captures", total=None)

            def tell(now: object) -> None:
                bar.update(
                    task,
                    description=f"{now.parts}/{now.total_parts} parts",  # type: ignore[attr-defined]
                    completed=now.octets,  # type: ignore[attr-defined]
                    total=now.total_octets,  # type: ignore[attr-defined]
                )

            yield tell

    return opened()


__all__ = ["EPILOG", "reprocess"]
