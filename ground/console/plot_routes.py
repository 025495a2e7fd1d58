"""Plots: a parameter over SCET or ERT with its limits, and its samples as a file."""

from __future__ import annotations

import re
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
from starlette.background import BackgroundTask
from starlette.responses import FileResponse

from ground.console.context import Context
from ground.console.endpoints import UNIX_MS, Call, Parameter, Route
from ground.console.handling import in_thread, tai_ns
from ground.console.model import plain
from protocols.timecodes.tai import unix_ns_from_tai_ns

FROM: Final = Parameter("from", float, "Milliseconds since 1970 UTC", None, 0, 4e12, format=UNIX_MS)
TO: Final = Parameter("to", float, "Milliseconds since 1970 UTC", None, 0, 4e12, format=UNIX_MS)
#: Bins of a plot.
MOST_POINTS: Final = 4_000


def _column(values: np.ndarray[Any, Any]) -> list[Any]:
    """As `plain`, at once where there is nothing to be changed."""
    kind = values.dtype.kind
    if kind in "biu" or (kind == "f" and bool(np.isfinite(values).all())):
        return values.tolist()
    return [plain(one) for one in values]


def plot_routes(context: Context) -> list[Route]:
    def plot(call: Call) -> Any:
        query = call.query
        start_ns, stop_ns = tai_ns(query["from"]), tai_ns(query["to"])
        with context.archive() as archive:
            found = archive.plot(query["name"], start_ns, stop_ns, query["points"], query["axis"])
            counters = archive.counters()
        with context.lock:
            behind_s = context.model.archived.behind_s(counters, time.monotonic())
        return {
            "name": found.name,
            "unit": found.unit,
            "axis": query["axis"],
            "width_ms": found.width_ns / 1e6,
            "time": (unix_ns_from_tai_ns(found.time_ns) / 1e6).tolist(),
            "minimum": _column(found.minimum),
            "maximum": _column(found.maximum),
            "mean": _column(found.mean),
            "count": found.count.tolist(),
            "labels": {str(code): label for code, label in found.labels.items()},
            # Of a replica: so long ago more was archived than it holds.
            "behind_s": behind_s,
            # Critical low, warning low, warning high, critical high.
            "limits": context.limits.get(found.name),
        }

    def export(call: Call) -> Any:
        query, form = call.query, call.query["format"]
        directory = tempfile.TemporaryDirectory(prefix="export-")
        name = re.sub(r"[^\w-]", "_", query["name"], flags=re.ASCII)
        path = Path(directory.name) / f"{name}.{form}"
        try:
            with context.archive() as archive:
                write = archive.export_parquet if form == "parquet" else archive.export_csv
                write(
                    path,
                    names=[query["name"]],
                    start_ns=tai_ns(query["from"]),
                    stop_ns=tai_ns(query["to"]),
                )
        except BaseException:
            directory.cleanup()
            raise
        return FileResponse(
            path,
            media_type="application/octet-stream",
            filename=path.name,
            background=BackgroundTask(directory.cleanup),
        )

    name = Parameter("name", str, "Name")
    points = Parameter("points", int, "At most so many bins", 1_600, 1, MOST_POINTS)
    axis = Parameter(
        "axis", str, "scet: generation on board; ert: arrival", "scet", choices=("scet", "ert")
    )
    form = Parameter("format", str, "csv or parquet", "csv", choices=("csv", "parquet"))
    return [
        Route("GET", "/plot", in_thread(plot), "A parameter with the least and greatest of bins",
              parameters=(name, FROM, TO, points, axis)),
        Route("GET", "/export", in_thread(export), "Every sample of a parameter as a file",
              parameters=(name, FROM, TO, form), media_type="application/octet-stream"),
    ]  # fmt: skip
