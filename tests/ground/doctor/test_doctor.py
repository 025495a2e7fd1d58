"""`l4 doctor`: each thing that can be wrong is found where it is, and says what to do."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ground.answering import CallServer
from ground.archive.store import ArchiveStore
from ground.cli import app
from ground.config import RunSettings, free_base_port, prepare_run_directory
from ground.doctor import antennas, machine, site
from ground.doctor.finding import Level
from protocols.timecodes.tai import utc_iso_from_tai_ns
from tests.certificates import for_localhost


@pytest.fixture
def run(tmp_path: Path) -> RunSettings:
    return prepare_run_directory(tmp_path / "run", base_port=free_base_port())


def levels(findings) -> dict[Level, list[str]]:
    found: dict[Level, list[str]] = {}
    for one in findings:
        assert (one.do == "") == (one.level in (Level.OK, Level.SKIPPED)), one
        found.setdefault(one.level, []).append(one.text)
    return found


def test_a_new_run_is_well(run: RunSettings) -> None:
    done = CliRunner().invoke(app, ["doctor", "--run-dir", str(run.run_dir), "--json"])
    report = json.loads(done.stdout)
    assert done.exit_code == (0 if report["ok"] else 1)
    found = {one["check"]: one for one in report["findings"]}
    assert {"python", "packages", "compiled kernels", "leap seconds", "disk", "ports"} <= set(found)
    assert found["packages"]["level"] == found["ports"]["level"] == "ok"
    assert found["services"]["level"] == found["archive"]["level"] == "skipped"


def test_no_run_directory_and_wrong_settings(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["doctor", "--run-dir", str(tmp_path / "none")])
    assert done.exit_code == 1
    assert "does not exist" in done.stdout
    (tmp_path / "run.toml").write_text("colour = 3\n")
    settings, (finding,) = site.settings_of(tmp_path)
    assert settings is None
    assert "colour is not a setting" in finding.text
    (tmp_path / "run.toml").write_text('mission = "nowhere"\n')
    assert site.settings_of(tmp_path)[0] is None


def test_packages_of_another_version_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["numpy>=1000", "nowhere-to-be-found>=1", "pyzmq>=1", 'gone>=1; extra == "test"']
    monkeypatch.setattr(machine.metadata, "requires", lambda name: asked)
    (text,) = levels(machine.python_and_packages(None))[Level.ERROR]
    assert "numpy" in text
    assert "nowhere-to-be-found is missing" in text
    assert "zmq" not in text
    assert "gone" not in text


def test_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file/in/no/directory"))
    assert Level.ERROR in levels(machine.compiled_kernels(None))
    for place in ("", "made/when/needed"):
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / place))
        assert Level.OK in levels(machine.compiled_kernels(None))


# Of the IERS's leap-seconds.list, as tzdata brings it: seconds since 1900, TAI − UTC.
LIST = """#
#@	{expiry}
#
2272060800	10	# 1 Jan 1972
3644697600	36	# 1 Jul 2015
3692217600	{last}	# 1 Jan 2017
"""


@pytest.mark.parametrize(
    ("expiry", "last", "level"),
    [
        (6_000_000_000, 37, Level.OK),
        (6_000_000_000, 38, Level.ERROR),
        (3_700_000_000, 37, Level.WARNING),
    ],
)
def test_leap_seconds_against_the_systems_list(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, expiry: int, last: int, level: Level
) -> None:
    path = tmp_path / "leap-seconds.list"
    path.write_text(LIST.format(expiry=expiry, last=last))
    (tmp_path / "older").write_text(LIST.format(expiry=3_600_000_000, last=36))
    lists = (tmp_path / "older", tmp_path / "absent", path)
    monkeypatch.setattr(machine, "LEAP_SECOND_LISTS", lists)
    monkeypatch.setattr(machine, "LEAP_SECONDS_EXPIRE", "2017-06-28")
    assert list(levels(machine.leap_seconds(None))) == [level]
    seconds, until_ns = machine.read_leap_seconds(path.read_text())
    assert seconds == last
    # 6,000,000,000 s after 1900: by `date -u -d @$((6000000000 - 2208988800))`
    if expiry == 6_000_000_000:
        assert utc_iso_from_tai_ns(until_ns, decimals=0) == "2090-02-17T10:40:00Z"


def test_rights_and_room(run: RunSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chmod(run.run_dir, 0o777)
    assert Level.ERROR in levels(site.rights(run))
    os.chmod(run.run_dir, 0o750)
    assert Level.OK in levels(site.rights(run))
    usage = shutil.disk_usage(run.run_dir)
    for free, level in ((0.5, Level.OK), (0.1, Level.WARNING), (0.01, Level.ERROR)):
        told = usage._replace(total=10**12, free=round(free * 10**12))
        monkeypatch.setattr(site.shutil, "disk_usage", lambda path, told=told: told)
        assert list(levels(site.room(run))) == [level]


def test_a_port_that_somebody_else_has(run: RunSettings) -> None:
    with socket.create_server(("127.0.0.1", run.base_port + 3)):
        (text,) = levels(site.services(run))[Level.ERROR]
    assert text.startswith(f"{run.base_port + 3} taken")


def test_secrets_that_others_can_read(run: RunSettings, tmp_path: Path) -> None:
    key = tmp_path / "command.keys"
    changed = replace(run, command=True, command_key=str(key), radio="udp://127.0.0.1:1")
    assert "does not exist" in levels(site.keys(changed))[Level.ERROR][0]
    key.touch(0o644)
    assert "others than its owner" in levels(site.keys(changed))[Level.ERROR][0]
    key.chmod(0o600)
    assert Level.ERROR not in levels(site.keys(changed))
    simulated = replace(changed, command_key="")
    assert "simulated spacecraft" in levels(site.keys(simulated))[Level.ERROR][0]


def test_a_radio_is_commanded_with_keys_of_its_own(run: RunSettings) -> None:
    """Of the run, or of one of its antennas: the simulated spacecraft's keys everybody knows."""
    assert not levels(site.keys(replace(run, command=True))).get(Level.ERROR)
    for heard in ({"radio": "udp://:9"}, {"receivers": "a,b", "radios": "b=udp://:9"}):
        said = levels(site.keys(replace(run, command=True, **heard)))
        assert "simulated spacecraft's keys" in said[Level.ERROR][0]


def test_services_keys(run: RunSettings) -> None:
    done = CliRunner().invoke(app, ["keys", "new", "--site", "--run-dir", str(run.run_dir)])
    assert done.exit_code == 0, done.output
    assert Level.ERROR not in levels(site.keys(run))
    keys = run.keys_dir
    assert keys is not None
    (keys / "trusted" / "monitor.pub").unlink()
    assert levels(site.keys(run))[Level.ERROR] == ["monitor: the key in force is not trusted here"]
    keys.chmod(0o755)
    assert "others may look into it" in levels(site.keys(run))[Level.ERROR][0]
    keys.chmod(0o700)
    (keys / "bus.key").chmod(0o644)
    assert "bus.key" in levels(site.keys(run))[Level.ERROR][0]


def test_certificates_that_expire(run: RunSettings, tmp_path: Path) -> None:
    for days, level in ((-1, Level.ERROR), (10, Level.WARNING), (300, Level.OK)):
        path, key = for_localhost(tmp_path, days=days)
        changed = replace(run, console_certificate=str(path), console_private_key=str(key))
        assert list(levels(site.certificates(changed))) == [level]
    path.write_text("no certificate")
    assert site.certificate(path, time.time()).level is Level.ERROR


def test_a_broker_that_is_not_there(run: RunSettings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"mqtt://127.0.0.1:{server.getsockname()[1]}"
        assert list(levels(site.broker(replace(run, mqtt=address)))) == [Level.OK]
    assert list(levels(site.broker(replace(run, mqtt=address)))) == [Level.ERROR]


def test_an_archive_that_is_damaged(run: RunSettings) -> None:
    with ArchiveStore.open(run.archive_file):
        pass
    assert list(levels(site.archive(run))) == [Level.OK]
    with closing(sqlite3.connect(run.archive_file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'packet_identity'"
        ).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with run.archive_file.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * 64)
    (finding,) = site.archive(run)
    assert finding.level is Level.ERROR
    assert "lost-database" in finding.do


def test_of_several_antennas_the_one_that_is_silent_is_named(
    run: RunSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = replace(run, receivers="yeoju,dsn")
    assert list(antennas.antennas(run)) == []
    (nobody,) = antennas.antennas(several)
    assert nobody.level is Level.SKIPPED
    one = {"state": "OK", "detail": "", "alive": True, "hears": True, "transmits": True}
    other = {"state": "SILENT", "detail": "", "alive": False, "hears": False, "transmits": False}
    told = [{"antenna": "yeoju", **other}, {"antenna": "dsn", **one}]
    monkeypatch.setattr(antennas, "health", lambda *_: {"healthy": True})
    server, stop = CallServer(several.antennas_endpoint), threading.Event()

    def answer() -> None:
        while not stop.wait(0.01):
            server.turn(lambda *_: {"antennas": told, "state": "transmits", "transmitter": "dsn"})

    answering = threading.Thread(target=answer)
    answering.start()
    try:
        found = levels(antennas.antennas(several))
    finally:
        stop.set()
        answering.join()
        server.close()
    assert found == {
        Level.ERROR: ["yeoju: no word from receive.yeoju at 127.0.0.2"],
        Level.OK: ["dsn: OK, transmits hears"],
    }
