"""Files that people or other programs write: ephemerides, dictionaries, schedules, settings."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

from ground.adapters.radio.address import parse_address
from ground.adapters.radio.registry import installed
from ground.command.procedures.yaml_nodes import ProcedureInvalid
from ground.command.procedures.yaml_procedures import read_yaml
from ground.config import load_settings
from ground.console.oidc import load_oidc
from ground.mqtt_bridge.settings import load_broker_settings
from ground.receive.profile import load_profile
from ground.relay.settings import load_relay_settings
from ground.schedule_files import load_schedule
from ground.scheduling.export import simple_schedule, tables
from ground.scheduling.requests import build_problem
from ground.scheduling.requests_file import parse_requests
from ground.scheduling.satnet import read_problem
from ground.scheduling.stations import load_stations
from ground.scheduling.targets import target_named
from protocols.dictionary.l4_link import CommandKeys
from protocols.errors import LocalError, ProtocolError, RemoteError
from protocols.navigation.oem import build_oem, parse_oem
from protocols.navigation.tdm import parse_tdm
from protocols.physical.samples import sample_format
from protocols.physical.sigmf import Recording, Segment, build_metadata, parse_metadata
from protocols.telemetry.xtce import export_xtce, import_xtce
from spacecraft_sim.scenario import loads as load_scenario
from tests.fuzz.target import Target
from tests.ground.command.procedures.memory_world import DEFINITIONS
from tests.ground.scheduling import test_export, test_requests, test_satnet
from tests.protocols.navigation import test_tdm
from tests.protocols.telemetry import test_xtce

ROOT: Final = Path(__file__).resolve().parents[3]
JSON: Final = (b"1e400", b"NaN", b"-Infinity", b"9" * 400, b"[" * 1200, b'{"a":' * 400, b"null",
               b"-1", b"{}", b"[]", b'""', b"true", b"1.5", b"\\ud800")  # fmt: skip
TOML: Final = (b"a = " + b"[" * 1200, b"a." * 600, b"1e400", b"nan", b"inf", b"-1", b"{}", b"[]",
               b'""', b"true", b"9" * 400, b"[[", b"]]", b"1979-05-27", b"\n", b"\xff")  # fmt: skip
XML: Final = (b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"&b;", b"&#x0;", b"<![CDATA[", b"]]>", b"<!--",
              b"<?xml", b' a="1"', b"<a>" * 200, b"9" * 400, b"nan", b"1e400", b"-1")  # fmt: skip
KVN: Final = (b"META_START", b"META_STOP", b"DATA_START", b"DATA_STOP", b"COMMENT ", b" = ", b"\n",
              b"9" * 400, b"nan", b"inf", b"1e400", b"2016-12-31T23:59:60", b"0000-01-01",
              b"2027-366T00:00:00", b"COVARIANCE_START")  # fmt: skip


@cache
def directory() -> Path:
    """In memory where there is such a place; gone with the process."""
    shared = Path("/dev/shm")
    made = tempfile.TemporaryDirectory(
        prefix="fuzz-", dir=shared if shared.is_dir() else None, ignore_cleanup_errors=True
    )
    _DIRECTORIES.append(made)
    return Path(made.name)


_DIRECTORIES: Final[list[tempfile.TemporaryDirectory[str]]] = []


def in_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes], None]:
    """A reader of files, given octets."""

    def run(octets: bytes) -> None:
        path = directory() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(octets)
        path.chmod(0o600)
        read(path)

    return run


def text(read: Callable[[str], object]) -> Callable[[bytes], None]:
    def run(octets: bytes) -> None:
        read(octets.decode("utf-8", "replace"))

    return run


def shipped(*patterns: str) -> Callable[[], list[bytes]]:
    return lambda: [
        path.read_bytes() for pattern in patterns for path in sorted(ROOT.glob(pattern))
    ]


def examples_of(document: str, language: str) -> Callable[[], list[bytes]]:
    """Files that a how-to shows."""

    def seeds() -> list[bytes]:
        found = re.findall(
            rf"```{language}\n(.*?)```", (ROOT / "docs" / "howto" / document).read_text(), re.DOTALL
        )
        return [one.encode() for one in found]

    return seeds


def oem(octets: bytes) -> None:
    found = parse_oem(octets)
    parse_oem(build_oem(found))


def short_oem() -> list[bytes]:
    lines = (ROOT / "ground/scheduling/l4_orbit.oem").read_text().splitlines()
    begin = next(n for n, line in enumerate(lines) if line.startswith("META_STOP"))
    whole = "\n".join(lines[: begin + 14]) + "\n"
    stops = [line for line in lines[begin + 1 : begin + 14] if line]
    last = stops[-1].split()[0]
    return [re.sub(r"(STOP_TIME *= *)\S+", rf"\g<1>{last}", whole).encode(), whole.encode()]


def requests(octets: bytes) -> None:
    for source in ("week.toml", "week.json"):
        try:
            file = parse_requests(octets.decode("utf-8", "replace"), source)
        except LocalError:
            continue
        build_problem(file, test_requests.always, {})


def xtce(octets: bytes) -> None:
    found = import_xtce(octets)
    try:
        octets = export_xtce(found)
    except LocalError:
        return
    import_xtce(octets)


def scheduled(path: Path) -> None:
    simple_schedule.read(test_export.PUBLICATION.problem, path)


def relay_files() -> list[bytes]:
    node, tls = examples_of("run-a-relay-node.md", "toml")()
    return [node, node + tls]


def relay(path: Path) -> None:
    (path.parent / "plan.ionrc").write_text(PLAN)
    load_relay_settings(path)


def satnet(path: Path) -> None:
    read_problem(path, None, "W10_2018")


@cache
def week() -> Any:
    path = directory() / "satnet-good.json"
    path.write_text(json.dumps({"W10_2018": [test_satnet.ROW]}))
    return read_problem(path, None, "W10_2018")


def run_settings(path: Path) -> None:
    load_settings(path.parent)


@cache
def adapters() -> dict[str, Any]:
    return {one.scheme: one.adapter for one in installed() if one.adapter is not None}


def address(given: str) -> None:
    found = parse_address(given)
    adapter = adapters().get(found.scheme)
    if adapter is not None:
        found.options(adapter.OPTIONS)
        found.host_and_port()


def station_files() -> list[bytes]:
    """The how-to's, out of its doctest."""
    text = (ROOT / "docs/howto/add-a-station.md").read_text()
    block = text.partition("mine.write_text(")[2].partition("... " + 3 * "'")[0]
    lines = block.splitlines()[1:]
    return ["".join(f"{line[4:]}\n" for line in lines).encode()]


def parquet_seeds() -> list[bytes]:
    return [tables.build_parquet(test_export.PUBLICATION)]


def sigmf_seeds() -> list[bytes]:
    segments = (Segment(0, 0, 8.4e9, 2_000_000_000 * 10**9), Segment(90, 100, 8.4e9, 0))
    return [build_metadata(Recording(sample_format("ci16_le"), 1e6, segments, "a pass"))]


def satnet_rows() -> list[bytes]:
    start_s = test_satnet.MONDAY_S
    row = {
        "RESOURCE": "DSS-34", "SC": 521, "START_TIME": start_s, "TRACKING_ON": start_s + 3600,
        "TRACKING_OFF": start_s + 7200, "END_TIME": start_s + 8100, "TRACK_ID": "one",
    }  # fmt: skip
    return [json.dumps([row, row | {"RESOURCE": "DSS-36"}]).encode()]


PLAN: Final = """\
a contact 2027/03/01-00:00:00 2027/03/02-00:00:00 5 6 1000
a range 2027/03/01-00:00:00 2027/03/02-00:00:00 5 6 1
"""
LOCAL: Final = (LocalError,)
TLE: Final = b"""ISS (ZARYA)
1 25544U 98067A   08264.51782528 -.00002182  00000-0 -11606-4 0  2927
2 25544  51.6416 247.4627 0006703 130.5360 325.0288 15.72125391563537
"""

TARGETS: Final = [
    Target("oem", "protocols.navigation.oem.parse_oem", oem, short_oem, tokens=KVN,
           refuses=(RemoteError,)),
    Target("tdm", "protocols.navigation.tdm.parse_tdm", parse_tdm,
           lambda: [test_tdm.TWO_WAY], tokens=KVN),
    Target("tle", "ground.scheduling.targets.target_named",
           in_file("tle.txt", lambda p: target_named(str(p))), lambda: [TLE],
           refuses=(LocalError, RemoteError)),
    Target("xtce", "protocols.telemetry.xtce.import_xtce", xtce,
           lambda: [export_xtce(test_xtce.RICH), export_xtce(test_xtce.RICH, arrays="standard")],
           tokens=XML, longest=32_768, short=30),
    Target("sigmf", "protocols.physical.sigmf.parse_metadata", parse_metadata,
           sigmf_seeds, tokens=JSON),
    Target("requests", "ground.scheduling.requests_file.parse_requests", requests,
           lambda: [test_requests.HEAD.encode(),
                    *shipped("ground/scheduling/examples/*.toml")()],
           refuses=LOCAL, tokens=TOML + JSON, longest=8192, short=60),
    Target("satnet", "ground.scheduling.satnet.read_problem", in_file("satnet.json", satnet),
           lambda: [json.dumps({"W10_2018": [test_satnet.ROW]}).encode()], tokens=JSON,
           refuses=(RemoteError, LocalError)),
    Target("satnet-schedule", "ground.schedule_files.load_schedule",
           in_file("rows.json", lambda p: load_schedule(week(), p)),
           satnet_rows, tokens=JSON, refuses=(RemoteError, LocalError)),
    Target("simple-schedule", "ground.scheduling.export.simple_schedule.read",
           in_file("schedule.xml", scheduled),
           lambda: [simple_schedule.build(test_export.PUBLICATION)], tokens=XML, short=60),
    Target("schedule-csv", "ground.scheduling.export.tables.read_csv",
           in_file("schedule.csv", tables.read_csv),
           lambda: [tables.build_csv(test_export.PUBLICATION)],
           tokens=(b'"', b",", b"\n", b"\0", b"9" * 400, b"nan", b"1e400", b"\xff")),
    Target("schedule-parquet", "ground.scheduling.export.tables.read_parquet",
           in_file("schedule.parquet", tables.read_parquet), parquet_seeds, longest=16_384,
           short=60),
    Target("stations", "ground.scheduling.stations.load_stations",
           in_file("stations.toml", load_stations), station_files,
           refuses=LOCAL, tokens=TOML, short=25),
    Target("mission", "ground.receive.profile.load_profile", in_file("mission.toml", load_profile),
           shipped("ground/missions/*.toml"), refuses=LOCAL, tokens=TOML),
    Target("relay-settings", "ground.relay.settings.load_relay_settings",
           in_file("relay/node.toml", relay), relay_files,
           refuses=LOCAL, tokens=TOML),
    Target("mqtt-settings", "ground.mqtt_bridge.settings.load_broker_settings",
           in_file("mqtt.toml", lambda p: load_broker_settings("mqtts://h", "m", str(p))),
           lambda: [b'user = "u"\npassword = "p"\nprefix = "x"\n', b'authority = "ca.pem"\n'],
           refuses=LOCAL, tokens=TOML),
    Target("mqtt-address", "ground.mqtt_bridge.settings.load_broker_settings",
           text(lambda one: load_broker_settings(one, "m")),
           lambda: [b"mqtt://host:1883", b"mqtts://[::1]:8883"], refuses=LOCAL,
           tokens=(b"[", b"]", b"@", b":", b"//", b"99999")),
    Target("oidc-settings", "ground.console.oidc.load_oidc", in_file("oidc.toml", load_oidc),
           examples_of("console.md", "toml"), refuses=LOCAL, tokens=TOML),
    Target("run-settings", "ground.config.load_settings", in_file("run/run.toml", run_settings),
           lambda: [b'mission = "l4_relay"\nconsole = true\n', b"base_port = 5555\n"],
           refuses=LOCAL, tokens=TOML),
    Target("scenario", "spacecraft_sim.scenario.loads", text(load_scenario),
           shipped("spacecraft_sim/scenarios/*.toml"), refuses=(ProtocolError,), tokens=TOML),
    Target("procedure", "ground.command.procedures.yaml_procedures.read_yaml",
           text(lambda one: read_yaml(one, DEFINITIONS)),
           lambda: [*shipped("ground/missions/procedures/*/*.yaml")(),
                    *examples_of("write-a-procedure.md", "yaml")()],
           refuses=(ProcedureInvalid,),
           tokens=(b"&a ", b"*a", b"[" * 600, b"- " * 300, b"!!python/object:os.system", b"? ",
                   b": ", b"{", b"}", b"|", b"\t", b"9" * 5000, b"1e999", b"0x" + b"f" * 300,
                   b"<<: ", b"\xef\xbf\xbe", b"---\n"), short=60),
    Target("keys", "protocols.dictionary.l4_link.CommandKeys.parse", text(CommandKeys.parse),
           lambda: [b"00" * 16, b"\n".join([b"00" * 16, b"11" * 32, b"22" * 32])],
           refuses=LOCAL),
    Target("radio-address", "ground.adapters.radio.address.parse_address", text(address),
           lambda: [b"udp://127.0.0.1:10015?frame_length=1115", b"rtl-tcp://h:1234?freq=1e8",
                    b"zmq-iq://h:1?rate=2e+6&topic=a%26b", b"tcp://[::1]:99?listen=yes"],
           refuses=LOCAL, tokens=(b"%ff", b"&", b"=", b"?", b"[", b"nan", b"1e400", b"9" * 400)),
]  # fmt: skip
