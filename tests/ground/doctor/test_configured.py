"""`l4 doctor`, of what services read when they start: each breakage is found, and by its name."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from ground.command.store import CommandStore
from ground.config import RunSettings, free_base_port, prepare_run_directory
from ground.console.accounts import Accounts
from ground.doctor import configured, machine, site
from ground.doctor.finding import Finding, Level
from tests.certificates import for_localhost


@pytest.fixture
def run(tmp_path: Path) -> RunSettings:
    return prepare_run_directory(
        tmp_path / "run",
        base_port=free_base_port(),
        command=True,
        console=True,
        passes=True,
        timing=True,
    )


def found(settings: RunSettings) -> list[Finding]:
    return [one for check in configured.CHECKS for one in check(settings)]


def errors(settings: RunSettings) -> dict[str, str]:
    """What is wrong, by check; each says what to do."""
    wrong = [one for one in found(settings) if one.level is Level.ERROR]
    assert all(one.do for one in wrong)
    return {one.check: one.text for one in wrong}


def test_what_is_well_is_said_to_be(run: RunSettings) -> None:
    CommandStore.open(run.command_file).close()
    Accounts.open(run.console_dir / "accounts.sqlite").close()
    assert {one.level for one in found(run)} == {Level.OK}, found(run)
    said = " ".join(one.text for one in found(run))
    for name in ("timing station", "console", "command.sqlite", "accounts.sqlite"):
        assert name in said


@pytest.mark.parametrize(
    ("check", "why", "more"),
    [
        ("stations", "station 'NOWHERE'", {"stations": "YEOJU,NOWHERE"}),
        ("timing station", "station 'NOWHERE'", {"timing_station": "NOWHERE"}),
        ("radio", "no adapter 'foo'", {"radio": "foo://x"}),
        ("radio", "no adapter 'foo'", {"receivers": "a,b", "radios": "a=udp://:9 b=foo://x"}),
        ("command key", "holds one key", {"command_key": "{here}/nonsense"}),
        ("sign-in", "nonsense", {"console_file": "{here}/nonsense"}),
        ("console", "not a loopback address", {"hosts": "console=10.0.0.5"}),
        ("keys", "services at 10.0.0.5 and no keys", {"hosts": "bus=10.0.0.5"}),
        ("archive server", "127.0.0.1:1", {"archive": "postgresql://l4@127.0.0.1:1/x"}),
    ],
)
def test_what_a_service_would_refuse_at_its_start(
    run: RunSettings, tmp_path: Path, check: str, why: str, more: dict[str, str]
) -> None:
    (tmp_path / "nonsense").write_text("this is no file of ours")
    (tmp_path / "nonsense").chmod(0o600)
    changed = {name: value.format(here=tmp_path) for name, value in more.items()}
    said = errors(replace(run, **changed))
    assert set(said) == {check}
    assert why in said[check]


def test_a_certificate_and_a_key_that_do_not_belong_together(
    run: RunSettings, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    certificate, key = for_localhost(tmp_path)[:2]
    _, other = for_localhost(tmp_path / "other")[:2]
    pair = replace(run, console_certificate=str(certificate), console_private_key=str(key))
    assert errors(pair) == {}
    assert "console" in errors(replace(pair, console_private_key=str(other)))
    long_ago = certificate.stat().st_mtime - 4_000 * 86_400
    assert "not valid before" in site.certificate(certificate, long_ago).text


def a_file_for_a_directory(run: RunSettings) -> None:
    (run.run_dir / "capture").write_text("")


def a_settings_file_for_all(run: RunSettings) -> None:
    (run.run_dir / "run.toml").write_text("")
    (run.run_dir / "run.toml").chmod(0o666)


def a_file_of_tomorrow(run: RunSettings) -> None:
    (run.run_dir / "state").mkdir(exist_ok=True)
    path = run.run_dir / "state/receive.state"
    path.write_text("")
    tomorrow_s = path.stat().st_mtime + 86_400
    os.utime(path, (tomorrow_s, tomorrow_s))


def a_database_of_noise(run: RunSettings) -> None:
    run.command_file.parent.mkdir(exist_ok=True)
    run.command_file.write_bytes(os.urandom(5_000))


def a_database_of_a_later_version(run: RunSettings) -> None:
    CommandStore.open(run.command_file).close()
    with closing(sqlite3.connect(run.command_file)) as connection:
        connection.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize(
    ("broken", "check", "why"),
    [
        (a_file_for_a_directory, "owners", "is no directory"),
        (a_settings_file_for_all, "owners", "others than its owner may change it"),
        (a_file_of_tomorrow, "run clock", "files of this run are 86,4"),
        (a_database_of_noise, "databases", "not a database"),
        (a_database_of_a_later_version, "databases", "commands of format 99"),
    ],
)
def test_what_is_wrong_on_the_disk(
    run: RunSettings, broken: Callable[[RunSettings], None], check: str, why: str
) -> None:
    broken(run)
    said = errors(run)
    assert set(said) == {check}
    assert why in said[check]


def test_an_older_database_is_taken_over_after_a_backup(run: RunSettings) -> None:
    CommandStore.open(run.command_file).close()
    with closing(sqlite3.connect(run.command_file)) as connection:
        connection.execute("PRAGMA user_version = 1")
    (finding,) = configured.databases(run)
    assert finding.level is Level.WARNING
    assert "l4 backup" in finding.do


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_somebody_else_left_there(run: RunSettings) -> None:
    (run.run_dir / "journal").mkdir(exist_ok=True)
    os.chown(run.run_dir / "journal", 12345, -1)
    assert "journal is uid 12345's" in errors(run)["owners"]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to others: root's alone")
def test_what_is_of_root_by_right(run: RunSettings) -> None:
    """As installed: a link of root's to the settings; the run on a disk of its own."""
    (run.run_dir / "lost+found").mkdir()
    for path in (run.run_dir, *run.run_dir.rglob("*")):
        if path.name not in ("run.toml", "lost+found"):
            os.chown(path, 12345, -1)
    assert "owners" not in errors(run)


def test_a_disk_that_is_read_only_or_out_of_inodes(
    run: RunSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs(run.run_dir)

    def seen(**changed: int) -> Callable[[object], os.statvfs_result]:
        fields = {name: getattr(real, name) for name in dir(real) if name.startswith("f_")}
        order = list(os.statvfs_result.__match_args__)
        return lambda _: os.statvfs_result([{**fields, **changed}[name] for name in order])

    monkeypatch.setattr(site.os, "statvfs", seen(f_flag=os.ST_RDONLY))
    (finding,) = site.rights(run)
    assert (finding.level, "read-only" in finding.text) == (Level.ERROR, True)
    monkeypatch.setattr(site.os, "statvfs", seen(f_files=1_000_000, f_favail=3))
    assert "3 of 1,000,000 inodes free" in next(iter(site.room(run))).text


def test_a_clock_that_stands_before_the_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.time, "time", lambda: 1_000_000.0)
    (finding,) = machine.system_clock(None)
    assert finding.level is Level.ERROR
    assert "1970-01-12: before this was installed" in finding.text


def test_nowhere_to_put_a_temporary_file(
    run: RunSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(gone))
    shutil.rmtree(gone)
    assert str(gone) in errors(run)["temporary files"]
