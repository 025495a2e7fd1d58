"""Run directory and settings: what is wrong is named, with its place."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from ground.config import (
    JOURNALING,
    PORTS,
    RunSettings,
    free_base_port,
    load_settings,
    port_range_free,
    prepare_run_directory,
)
from protocols.errors import LocalError


def test_a_prepared_directory_is_read_back(tmp_path: Path) -> None:
    made = prepare_run_directory(
        tmp_path / "a" / "run", speed=60, base_port=21000, mission='odd "name"', sync=False
    )
    assert load_settings(tmp_path / "a" / "run") == made
    assert (made.base_port, made.sync, made.mission) == (21000, False, 'odd "name"')
    assert made.clock_file.is_file()


def test_a_directory_without_settings_has_the_defaults(tmp_path: Path) -> None:
    assert load_settings(tmp_path) == RunSettings(tmp_path.resolve())


def test_every_endpoint_is_loopback_and_has_a_port_of_its_own() -> None:
    settings = RunSettings(Path("/nowhere"), base_port=21000)
    endpoints = [settings.bus_in, settings.bus_out, settings.link_endpoint]
    endpoints += settings.replay_endpoints.values()
    assert set(settings.replay_endpoints) == set(JOURNALING)
    ports = [int(endpoint.removeprefix("tcp://127.0.0.1:")) for endpoint in endpoints]
    assert len(set(ports)) == len(ports)
    assert all(21000 <= port < 21000 + PORTS for port in ports)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("base_port = 80", "base_port 80"),
        ('base_port = "21000"', "base_port"),
        ("base_port = 21000.0", "base_port"),
        ("sync = 1", "sync"),
        ("speling = 1", "speling"),
        ("mission = ''", "mission"),
        ("capture_octets = 1", "capture_octets"),
        ("journal_octets = 70000000", "journal_octets"),
        ("sample_hz = 1001", "sample_hz 1001: 0..1000 wanted"),
        ("mqtt_file = 'f'", "mqtt_file f: mqtt, the broker's address, wanted too"),
        ("receivers = 'a,a'", "receivers 'a,a'"),
        ("receivers = 'a'\nradios = 'b=udp://h:1'", "radios: b=udp://h:1"),
        ("= 1", "run.toml"),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(LocalError, match=named) as error:
        load_settings(tmp_path)
    assert str(tmp_path / "run.toml") in str(error.value)


def test_a_taken_port_is_seen() -> None:
    base = free_base_port()
    assert port_range_free(base)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", base + PORTS - 1))
        taken.listen()
        assert not port_range_free(base)
        assert free_base_port() != base


def test_antennas_of_this_machine_have_addresses_of_their_own() -> None:
    settings = RunSettings(
        Path("/nowhere"),
        receivers="yeoju, dsn,dss36",
        hosts="*=10.0.0.1,receive.dss36=10.0.0.36",
        radios="dsn=udp://0.0.0.0:10015",
    )
    assert settings.receivers_here == ("receive.yeoju", "receive.dsn")
    assert set(settings.receivers_here) < set(settings.services)
    links = [settings.link_of(name) for name in settings.antenna_receivers]
    assert [one.rpartition(":")[0] for one in links] == [
        "tcp://127.0.0.2",
        "tcp://127.0.0.3",
        "tcp://10.0.0.36",
    ]
    radios = [settings.radio_of(name) for name in settings.antenna_receivers]
    assert radios == ["", "udp://0.0.0.0:10015", ""]
    assert len({settings.capture_of(name) for name in settings.antenna_receivers}) == 3
    assert len({settings.uplink_log_of(name) for name in settings.antenna_receivers}) == 3
