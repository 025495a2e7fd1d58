"""`l4 study …`: the relay's orbit, and outages behind the Sun.  Heavy imports stay inside."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from ground.study_conjunction_command import EPILOG, conjunction
from ground.study_link_command import EPILOG as LINK_EPILOG
from ground.study_link_command import link
from protocols.errors import LocalError

study_app = typer.Typer(
    help="Study the relay's geometry: its orbit about L4, and what it gains behind the Sun.",
    no_args_is_help=True,
)


@study_app.callback()
def _study() -> None: ...


study_app.command(epilog=EPILOG)(conjunction)
study_app.command(epilog=LINK_EPILOG)(link)


@study_app.command(
    epilog="""
Examples:

`l4 study orbit --from 2025 --to 2050 --out l4.oem` — the orbit that is shipped as target `l4-orbit`

`l4 study orbit --point l5 --from 2030 --to 2040 --json --out l5.oem`
"""
)
def orbit(
    out: Annotated[Path, typer.Option(help="Write the OEM (CCSDS 502.0-B, KVN) here.")],
    start: Annotated[str, typer.Option("--from", help="Year, or UTC like 2026-12-01.")] = "2025",
    end: Annotated[str, typer.Option("--to", help="Year (to its end), or UTC.")] = "2050",
    point: Annotated[str, typer.Option(help="l4 or l5.")] = "l4",
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Integrate the ballistic orbit that stays nearest to L4 among the planets; write it as OEM."""
    from ground.study.libration import libration_orbit
    from ground.study.years import span_ns
    from protocols.navigation.oem import build_oem

    if point not in ("l4", "l5"):
        raise LocalError(f"--point {point!r}: l4 or l5 wanted")
    start_ns, end_ns = span_ns(start, end)
    begin = time.monotonic()

    def progress(correction: int, rms_km: float) -> None:
        if sys.stderr.isatty():
            print(f"correction {correction}: {rms_km:,.0f} km from the point", file=sys.stderr)

    found = libration_orbit(
        point,
        start_ns,
        end_ns,
        creation_date=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        progress=progress,
    )
    out.write_bytes(build_oem(found.oem))
    states = len(found.oem.segments[0].epochs_tai_ns)
    if json_:
        print(
            json.dumps(
                {
                    "file": str(out),
                    "states": states,
                    "rms_km": round(found.rms_km, 3),
                    "most_km": round(found.most_km, 3),
                    "seconds": round(time.monotonic() - begin, 3),
                },
                indent=2,
            )
        )
    else:
        print(
            f"{out}: {states} states; from {point.upper()} {found.rms_km:,.0f} km (rms), "
            f"{found.most_km:,.0f} km at most"
        )
