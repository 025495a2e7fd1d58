"""`l4 doctor`.  Heavy imports stay inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

EPILOG = """
Examples:

`l4 doctor` — the installation, and the run in var/run

`sudo -u l4 l4 doctor --run-dir /var/lib/l4` — a site that systemd runs

`l4 doctor --json | jq '.findings[] | select(.level == "error")'`

Exit status: 0, 1 if anything is an error. It reads, and changes nothing.
"""


def doctor(
    run_dir: Annotated[Path, typer.Option("--run-dir", help="Directory of the run.")] = Path(
        "var/run"
    ),
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Check an installation and say what to do about what is found.

    Python and packages, compiled kernels, clock and leap seconds, ephemeris; of the run: settings
    and what they name, rights and owners, room, services and ports, antennas, keys, certificates,
    MQTT broker, databases, archive.
    """
    from dataclasses import asdict

    from rich.console import Console
    from rich.text import Text

    from ground.doctor import antennas, configured, machine, site
    from ground.doctor.finding import Level

    findings = [finding for check in machine.CHECKS for finding in check(None)]
    checks = (*configured.CHECKS, *site.CHECKS, *antennas.CHECKS)
    settings, found = site.settings_of(run_dir)
    findings += found
    if settings is not None:
        findings += [finding for check in checks for finding in check(settings)]
    errors = sum(one.level is Level.ERROR for one in findings)
    warnings = sum(one.level is Level.WARNING for one in findings)
    if json_:
        report = {"ok": not errors, "findings": [asdict(one) for one in findings]}
        print(json.dumps(report, indent=2, ensure_ascii=False))
        raise typer.Exit(1 if errors else 0)
    console = Console()
    styles = {Level.OK: "green", Level.SKIPPED: "dim", Level.WARNING: "yellow", Level.ERROR: "red"}
    for one in findings:
        line = Text.assemble((f"{one.level:8}", styles[one.level]), (f"{one.check:18}", "bold"))
        console.print(line.append(one.text), soft_wrap=True)
        if one.do:
            console.print(Text(f"{'':8}{'':18}→ {one.do}", style="cyan"), soft_wrap=True)
    plural = {one: "" if one == 1 else "s" for one in (errors, warnings)}
    console.print(f"{errors} error{plural[errors]}, {warnings} warning{plural[warnings]}")
    raise typer.Exit(1 if errors else 0)
