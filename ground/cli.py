"""The `l4` command.  Imports stay inside the functions, so that `l4 --help` answers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="l4",
    help="Ground segment for a relay spacecraft at Sun-Earth L4.",
    epilog="Begin with `l4 run`: it starts a simulated spacecraft and the ground, and shows both.",
    no_args_is_help=True,
    # Rich's help imports a Markdown parser and a highlighter, 0.2 s: the first page goes without.
    rich_markup_mode="rich" if sys.argv[1:] not in ([], ["-h"], ["--help"]) else None,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_show_locals=False,
)

DEFAULT_RUN_DIR = Path("var/run")

RunDir = Annotated[
    Path, typer.Option("--run-dir", help="Directory of the run: captures, journals, archive, logs.")
]
_NETWORK: dict[str, Any] = {"rich_help_panel": "Network and trust (docs/howto/keys.md)"}
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def main() -> None:
    """Entry point: errors that name their cause are one line, not a traceback."""
    from protocols.errors import ProtocolError

    try:
        app()
    except ProtocolError as error:
        print(f"l4: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except BrokenPipeError:
        raise SystemExit(1) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"l4: {where}{error.strerror or error}", file=sys.stderr)
        raise SystemExit(2) from None


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(version("l4-relay-ground"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...


@app.command(
    epilog="""
Examples:

`l4 run` — in real time: light takes its 8 minutes, the first telemetry is already on its way

`l4 run --stations YEOJU --speed 600` — one station: half of the day there is no pass

`l4 run --speed 60 --scenario storm` — a solar storm, an hour a minute

`l4 run --duration 60 --no-view --json` — run for a minute, print what was received

`l4 run --replay frames.u8 -m danuri --pace full` — a recording through the live services

`l4 run --radio udp://0.0.0.0:10015 -m danuri` — a real receiver's frames (`l4 radio adapters`)

`l4 run --radio sigmf:pass.sigmf-meta -m l4_relay` — I/Q samples, decoded as they come

`l4 run --antenna yeoju --antenna dsn` — two antennas, merged: each packet once (`l4 antenna`)

`l4 run --antenna yeoju --antenna dss36=10.0.0.36 --keys keys` — one on another host

`l4 run --mqtt mqtt://localhost` — telemetry, events, commands as JSON at an MQTT broker
"""
)
def run(
    speed: Annotated[
        float, typer.Option(min=0.001, max=1e6, help="Run the whole world so many times faster.")
    ] = 1.0,
    scenario: Annotated[str, typer.Option(help="Scenario name, or a TOML file.")] = "nominal",
    light_time: Annotated[
        float | None,
        typer.Option(min=0, help="One-way light time in seconds instead of the true one; 0: none."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random in the spacecraft.")] = 1,
    run_dir: RunDir = DEFAULT_RUN_DIR,
    base_port: Annotated[
        int | None, typer.Option(help="First of 30 loopback ports; free ones are chosen if taken.")
    ] = None,
    duration: Annotated[
        float | None, typer.Option(min=0, help="Stop by itself after so many wall seconds.")
    ] = None,
    view: Annotated[
        bool | None, typer.Option("--view/--no-view", help="Live view; default: on a terminal.")
    ] = None,
    json_: Json = False,
    replay: Annotated[
        Path | None,
        typer.Option(help="Receive this capture instead of the simulated spacecraft."),
    ] = None,
    radio: Annotated[
        str,
        typer.Option(
            help="Receive (and send) through this radio instead: its address, as udp://HOST:PORT, "
            "rtl-tcp://HOST:PORT?freq=8.4e9&rate=2.4e6 (I/Q samples: the mission file says how the "
            "carrier is modulated)."
        ),
    ] = "",
    antenna: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=ADDRESS]",
            help="Receive by this antenna; repeated: by several, the preferred first. Without "
            "ADDRESS the simulated spacecraft's, in the passes over YEOJU, DSS-26 or `dsn`; else "
            "a radio's, as udp://HOST:PORT, or that of the host where `receive.NAME` runs.",
        ),
    ] = None,
    keep_samples: Annotated[
        float,
        typer.Option(
            min=0,
            help="Of a radio's I/Q samples: keep so many GiB as they came; 0: all. Every other "
            "capture is kept.",
        ),
    ] = 16.0,
    mission: Annotated[
        str,
        typer.Option(
            "--mission", "-m", help="Link profile (`l4 missions`), with --replay, --radio."
        ),
    ] = "l4_relay",
    pace: Annotated[str, typer.Option(help="With --replay: full, recorded, or a factor.")] = "full",
    passes: Annotated[
        bool,
        typer.Option(
            "--passes/--no-passes", help="The link is up in planned passes only, or always."
        ),
    ] = True,
    console: Annotated[
        bool, typer.Option("--console/--no-console", help="Serve the web console.")
    ] = True,
    console_file: Annotated[
        str, typer.Option(help="TOML: an OpenID Connect provider to sign in with.")
    ] = "",
    stations: Annotated[
        str,
        typer.Option(help="Antennas of the passes, the preferred first, as YEOJU,DSS-26."),
    ] = "",
    sample_hz: Annotated[
        int,
        typer.Option(
            min=0,
            max=1000,
            help="Decode so many packets a second of each kind (0: all); archive all.",
        ),
    ] = 0,
    archive: Annotated[
        str,
        typer.Option(help="Archive on this server: postgresql://USER@HOST/NAME (PGPASSFILE)."),
    ] = "",
    archive_replica: Annotated[
        str, typer.Option(help="The console reads from this replica of it: its address.")
    ] = "",
    mqtt: Annotated[
        str, typer.Option(help="Tell this MQTT broker: mqtt://HOST[:PORT] or mqtts://HOST[:PORT].")
    ] = "",
    mqtt_file: Annotated[
        str, typer.Option(help="TOML: the broker's user, password, certificates, topics.")
    ] = "",
    keys: Annotated[
        str, typer.Option(help="Keys directory (default: RUN_DIR/keys, if there).", **_NETWORK)
    ] = "",
    hosts: Annotated[
        str,
        typer.Option(help="Where services listen, as console=192.168.1.5,bus=…", **_NETWORK),
    ] = "",
    console_certificate: Annotated[
        str, typer.Option(help="PEM: serve the console over TLS.", **_NETWORK)
    ] = "",
    console_private_key: Annotated[
        str, typer.Option(help="PEM: that of the certificate, mode 600.", **_NETWORK)
    ] = "",
    behind_proxy: Annotated[
        bool,
        typer.Option("--behind-proxy", help="A proxy before the console does TLS.", **_NETWORK),
    ] = False,
) -> None:
    """Start the simulated spacecraft and the ground services, and watch them. Ctrl-C stops all.

    All of a run is in its directory; a run started there again goes on where it was. Another
    --run-dir starts anew. Scenarios: nominal, storm, storm_safe, safe_mode,
    conjunction, lost_station, optical.
    """
    from ground.run import RunOptions, run_site
    from protocols.errors import LocalError

    heard = radio or any("://" in one for one in antenna or [])
    if replay is None and not heard and mission != "l4_relay":
        raise LocalError(
            f"--mission {mission}: the simulated spacecraft is l4_relay; --replay FILE or --radio"
        )
    if replay is not None and radio:
        raise LocalError(f"--radio {radio}, --replay {replay}: one of them wanted")
    if radio:
        from ground.adapters.radio.registry import open_adapter

        open_adapter(radio)  # what is wrong with its address is said here, not by a service
    antennas = _antennas(antenna or [])
    if antennas and (replay is not None or radio):
        raise LocalError("--antenna: not with --replay, --radio; a radio is one antenna's ADDRESS")
    if replay is not None and not replay.exists():
        raise LocalError(f"--replay {replay}: no such file")

    raise typer.Exit(
        run_site(
            RunOptions(
                speed=speed,
                scenario=scenario,
                light_time_s=light_time,
                seed=seed,
                run_dir=run_dir,
                base_port=base_port,
                duration_s=duration,
                view=sys.stdout.isatty() and not json_ if view is None else view,
                as_json=json_,
                mission=mission,
                replay=replay,
                radio=radio,
                antennas=antennas,
                keep_samples_gib=keep_samples,
                pace=pace,
                passes=passes,
                console=console,
                console_file=console_file,
                stations=stations,
                sample_hz=sample_hz,
                archive=archive,
                archive_replica=archive_replica,
                mqtt=mqtt,
                mqtt_file=mqtt_file,
                keys=keys,
                hosts=hosts,
                console_certificate=console_certificate,
                console_private_key=console_private_key,
                behind_proxy=behind_proxy,
            )
        )
    )


def _antennas(texts: list[str]) -> dict[str, str]:
    """Name → address.  LocalError: one that is wrong, or there twice."""
    from protocols.bus.access import is_key_name
    from protocols.errors import LocalError

    found: dict[str, str] = {}
    for text in texts:
        name, _, address = text.partition("=")
        if not is_key_name(name) or "." in name or name in found:
            raise LocalError(f"--antenna {text}: NAME[=ADDRESS] wanted, each name once")
        if "://" in address:
            from ground.adapters.radio.registry import open_adapter

            open_adapter(address)
        found[name] = address
    return found


@app.command(epilog="Example: `l4 watch --run-dir var/run` beside a running `l4 run --no-view`")
def watch(run_dir: RunDir = DEFAULT_RUN_DIR) -> None:
    """Live view of a ground segment that is already running. Ctrl-C leaves it running."""
    from ground.run import watch_site

    raise typer.Exit(watch_site(run_dir))


@app.command(epilog="Example: `l4 status --json | jq '.services'`")
def status(run_dir: RunDir = DEFAULT_RUN_DIR, json_: Json = False) -> None:
    """How link and services are, once. Exit status 1 if anything is wrong."""
    from ground.run import print_status

    raise typer.Exit(print_status(run_dir, as_json=json_))


def _register() -> None:
    """Commands of other modules; their own imports are light."""
    from ground.antenna_commands import antenna_app
    from ground.archive_commands import archive_app
    from ground.command_commands import command_app
    from ground.console_commands import console_app
    from ground.doctor_command import EPILOG as DOCTOR_EPILOG
    from ground.doctor_command import doctor
    from ground.file_commands import file_app
    from ground.keys_commands import keys_app
    from ground.present_commands import (
        EVENTS_EPILOG,
        TELEMETRY_EPILOG,
        TERMINAL_EPILOG,
        alarm_app,
        events,
        pass_app,
        telemetry,
        terminal,
    )
    from ground.procedure_run_commands import procedure_app
    from ground.radio_decode_command import radio_app
    from ground.recovery_commands import (
        AUDIT_EPILOG,
        BACKUP_EPILOG,
        REBUILD_EPILOG,
        RESTORE_EPILOG,
        audit,
        backup,
        rebuild,
        restore,
    )
    from ground.relay_commands import relay_app
    from ground.replay_command import missions, replay
    from ground.reprocess_command import EPILOG as REPROCESS_EPILOG
    from ground.reprocess_command import reprocess
    from ground.schedule_commands import schedule_app
    from ground.study_commands import study_app
    from ground.time_commands import EPILOG, time_
    from ground.trace_command import EPILOG as TRACE_EPILOG
    from ground.trace_command import trace
    from ground.xtce_commands import xtce_app

    app.command(
        epilog="Examples: l4 replay frames.u8 -m danuri · l4 replay x.u8 --frames aos "
        "--frame-length 1115 --fecf present --ocf absent --summary json · "
        "l4 replay var/run/capture -m l4_relay --archive again.sqlite",
        no_args_is_help=True,
    )(replay)
    app.command(epilog=REPROCESS_EPILOG, no_args_is_help=True)(reprocess)
    app.command(epilog="Example: l4 missions danuri")(missions)
    app.command("time", epilog=EPILOG)(time_)
    app.command(epilog=DOCTOR_EPILOG)(doctor)
    app.command(epilog=TRACE_EPILOG)(trace)
    app.command(epilog=AUDIT_EPILOG)(audit)
    app.command(epilog=BACKUP_EPILOG, no_args_is_help=True)(backup)
    app.command(epilog=RESTORE_EPILOG, no_args_is_help=True)(restore)
    archive_app.command(epilog=REBUILD_EPILOG)(rebuild)
    app.command(epilog=TERMINAL_EPILOG)(terminal)
    app.command(epilog=TELEMETRY_EPILOG)(telemetry)
    app.command(epilog=EVENTS_EPILOG)(events)
    app.add_typer(alarm_app, name="alarm")
    app.add_typer(pass_app, name="pass")
    app.add_typer(antenna_app, name="antenna")
    app.add_typer(archive_app, name="archive")
    app.add_typer(command_app, name="command")
    app.add_typer(console_app, name="console")
    app.add_typer(procedure_app, name="procedure")
    app.add_typer(file_app, name="file")
    app.add_typer(keys_app, name="keys")
    app.add_typer(radio_app, name="radio")
    app.add_typer(relay_app, name="relay")
    app.add_typer(schedule_app, name="schedule")
    app.add_typer(study_app, name="study")
    app.add_typer(xtce_app, name="xtce")


_register()


if __name__ == "__main__":
    main()
