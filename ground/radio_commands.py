"""`l4 radio`: the adapters of real hardware: what there is, what they bring, whether they work."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ground.adapters.radio.contract import CheckResult
    from ground.adapters.radio.recording import Progress

radio_app = typer.Typer(
    help="Radios in the place of the simulated station: adapters, looking, recording, testing.",
    no_args_is_help=True,
    epilog="A radio is named by its address, udp://0.0.0.0:10015 or rtl-tcp://192.168.1.5:1234?"
    "rate=2.4e6; `l4 radio adapters` lists what there is, `l4 radio adapters rtl-tcp` its options. "
    "`l4 run --radio ADDRESS -m MISSION` receives through it.",
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Address = Annotated[str, typer.Argument(help="Address of the radio, as udp://0.0.0.0:10015.")]


@radio_app.command(epilog="Examples: `l4 radio adapters` · `l4 radio adapters difi`")
def adapters(
    name: Annotated[str | None, typer.Argument(help="Show this adapter's options.")] = None,
    json_: Json = False,
) -> None:
    """Adapters that are installed, ours and other packages'; exit status 1 if one cannot load."""
    from ground.adapters.radio.registry import adapter_class, installed

    if name is not None:
        _print_options(name, adapter_class(name), json_)
        return
    known = list(installed())
    if json_:
        print(json.dumps([_listing(each) for each in known], indent=2))
    else:
        from rich.table import Table

        from ground.terminal import display

        table = Table(box=None, header_style="dim")
        for title in ("adapter", "face", "in", "out", "address", "what it is"):
            table.add_column(title)
        for each in known:
            adapter = each.adapter
            if adapter is None:
                table.add_row(each.scheme, "", "", "", "", f"[bold yellow]{each.why_not}[/]")
                continue
            table.add_row(
                each.scheme,
                adapter.FACE,
                "in" if adapter.RECEIVES else "",
                "out" if adapter.TRANSMITS else "",
                adapter.ADDRESS,
                adapter.SUMMARY,
            )
        display(table)
    raise typer.Exit(int(any(each.why_not for each in known)))


def _listing(known: Any) -> dict[str, Any]:
    adapter = known.adapter
    more: dict[str, Any] = {}
    if adapter is not None:
        more = {
            "face": adapter.FACE,
            "receives": adapter.RECEIVES,
            "transmits": adapter.TRANSMITS,
            "address": adapter.ADDRESS,
            "summary": adapter.SUMMARY,
            "options": {name: option.help for name, option in adapter.OPTIONS.items()},
        }
    return {
        "adapter": known.scheme,
        "package": known.package,
        "why_not": known.why_not,
        **more,
    }


def _print_options(name: str, adapter: Any, as_json: bool) -> None:
    rows = [
        (option, "" if known.default is None else str(known.default), known.help)
        for option, known in adapter.OPTIONS.items()
    ]
    if as_json:
        keys = ("option", "default", "help")
        print(json.dumps([dict(zip(keys, row, strict=True)) for row in rows], indent=2))
        return
    from rich.table import Table

    from ground.terminal import display

    print(f"{name}: {adapter.SUMMARY}\n{adapter.ADDRESS}?OPTION=VALUE&…")
    table = Table(box=None, header_style="dim")
    for title in ("option", "without it", "what it says"):
        table.add_column(title)
    for row in rows:
        table.add_row(*row)
    display(table)


@radio_app.command(
    epilog="Examples: `l4 radio probe rtl-tcp://localhost:1234?freq=137.1e6` · "
    "`l4 radio probe udp://0.0.0.0:10015 --seconds 10 --json`"
)
def probe(
    address: Address,
    seconds: Annotated[float, typer.Option(min=0.1, help="Look for so long.")] = 2.0,
    json_: Json = False,
) -> None:
    """What a radio is and what comes from it now. Exit status 1 if nothing does."""
    from ground.adapters.radio.recording import probe as look

    report = look(address, seconds=seconds)
    if json_:
        print(json.dumps(report, indent=2))
    else:
        _print_report(report)
    raise typer.Exit(0 if report["blocks"] else 1)


@radio_app.command(
    epilog="Examples: `l4 radio record rtl-tcp://localhost:1234?rate=2.4e6 -o pass.sigmf-meta "
    "--seconds 600` · `l4 radio record udp://0.0.0.0:10015 -o frames.u8`, then `l4 replay`"
)
def record(
    address: Address,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="NAME.sigmf-meta of samples; any file of octets.")
    ],
    seconds: Annotated[
        float, typer.Option(min=0, help="End after so long; 0: at Ctrl-C, or with the recording.")
    ] = 0.0,
    description: Annotated[str, typer.Option(help="Text kept with the samples.")] = "",
    replace: Annotated[bool, typer.Option(help="Write over a recording that is there.")] = False,
    progress: Annotated[
        bool | None, typer.Option("--progress/--no-progress", help="Default: on a terminal.")
    ] = None,
    json_: Json = False,
) -> None:
    """Write down what a radio brings: samples as SigMF, octets back to back.

    What is missing between samples begins a new capture segment, so that nobody takes them for a
    whole. A recording can be read while it is written, and after a kill. Exit status 1 if nothing
    came.
    """
    from contextlib import nullcontext

    from ground.adapters.radio.recording import record as write

    show = sys.stderr.isatty() and not json_ if progress is None else progress
    bar = _Bar(seconds) if show else nullcontext(lambda progress: None)
    with _interrupted() as stop, bar as update:
        report = write(
            address,
            output,
            seconds=seconds,
            stop=stop,
            progress=update,
            description=description,
            replace=replace,
        )
    if json_:
        print(json.dumps(report, indent=2))
    else:
        _print_report(report)
    raise typer.Exit(0 if report["octets"] else 1)


@radio_app.command(
    name="test",
    epilog="Examples: `l4 radio test udp` — against its own other end · "
    "`l4 radio test my-radio` — another package's · "
    "`l4 radio test soapy:driver=rtlsdr` — a device: what can be seen without another end",
)
def check(
    adapter: Annotated[str, typer.Argument(help="Name of an adapter, or a radio's address.")],
    json_: Json = False,
) -> None:
    """Run the contract of adapters, and say what failed and why. Exit status 1 if anything has.

    By its name an adapter is run against the other end of its wire, which it brings along: bit for
    bit, with time-outs, overflows, gaps, nonsense and disconnections. By an address it is run
    against what is there. The checks are those that the adapters of this package pass.
    """
    from ground.adapters.radio.address import parse_address
    from ground.adapters.radio.contract import Outcome, run_contract
    from ground.adapters.radio.registry import adapter_class

    uri = adapter if ":" in adapter else None
    name = parse_address(adapter).scheme if uri is not None else adapter
    kind = adapter_class(name)
    if uri is not None:
        kind(uri)  # a wrong address is an error before any check
    results = run_contract(kind, uri=uri, told=(lambda result: None) if json_ else _print_check)
    failed = [result for result in results if result.outcome is Outcome.FAILED]
    if json_:
        keys = ("name", "says", "outcome", "detail")
        listed = [
            {key: getattr(result, key) for key in keys} | {"seconds": round(result.seconds, 3)}
            for result in results
        ]
        print(json.dumps({"adapter": adapter, "ok": not failed, "checks": listed}, indent=2))
    else:
        passed = sum(result.outcome is Outcome.PASSED for result in results)
        not_run = len(results) - passed - len(failed)
        print(f"{passed} passed, {len(failed)} failed, {not_run} not run")
    raise typer.Exit(int(bool(failed)))


def _print_check(result: CheckResult) -> None:
    from rich.console import Console
    from rich.text import Text

    style = {"passed": "green", "failed": "bold red", "not run": "dim"}[result.outcome]
    line = Text(f"{result.outcome:8}", style=style)
    line.append(result.says, style="" if result.outcome != "not run" else "dim")
    if result.detail:
        line.append(f"\n        {result.detail}", style=style)
    Console(soft_wrap=True).print(line)


def _print_report(report: dict[str, Any]) -> None:
    from rich.table import Table

    from ground.terminal import display

    table = Table.grid(padding=(0, 2))
    for key, value in report.items():
        if value in ("", None, []) or (value == 0 and key not in ("blocks", "octets", "units")):
            continue
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            text = f"{value:,}"
        bad = key in ("overflows", "gaps", "lost", "malformed", "reconnects")
        table.add_row(key.replace("_", " "), f"[bold yellow]{text}[/]" if bad else text)
    display(table)


@contextmanager
def _interrupted() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM end a recording whole: what is written is closed."""
    import signal
    import threading

    told = threading.Event()
    ends = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: told.set()) for number in ends}
    try:
        yield told.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Bar:
    """Time, units, losses."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            TextColumn("recording"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[found]}"),
            console=Console(stderr=True),
        )
        self._bar.start()
        task = self._bar.add_task("record", total=self._seconds or None, found="")

        def update(progress: Progress) -> None:
            seen = progress.statistics
            found = f"{seen.octets_in:,} octets, {seen.state}"
            wrong = {"lost": seen.lost, "gaps": seen.gaps + seen.overflows, "bad": seen.malformed}
            found += "".join(f", {count:,} {name}" for name, count in wrong.items() if count)
            if not seen.octets_in and seen.detail:
                found += f": {seen.detail}"
            self._bar.update(task, completed=progress.seconds, found=found)

        return update

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
