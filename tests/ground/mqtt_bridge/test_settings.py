"""What is wrong is named, with its file, and no secret is quoted."""

from __future__ import annotations

from pathlib import Path

import pytest

from ground.mqtt_bridge.settings import load_broker_settings
from protocols.errors import LocalError


def test_address_and_file_are_read(tmp_path: Path) -> None:
    file = tmp_path / "broker.toml"
    file.touch(0o600)
    file.write_text('user = "b"\npassword = "hidden"\nauthority = "ca.pem"\ntopics = ["events"]\n')
    read = load_broker_settings("mqtts://broker.example", "some/danuri.toml", str(file))
    assert (read.host, read.port, read.tls) == ("broker.example", 8883, True)
    assert (read.base, read.topics) == ("l4r/v1/danuri/ground", ("events",))
    assert (read.user, read.password) == ("b", "hidden")
    assert read.authority == str(tmp_path / "ca.pem")
    assert "hidden" not in repr(read)
    with pytest.raises(LocalError, match=r"TLS: .*ca\.pem: .*No such file"):
        read.tls_context()
    assert load_broker_settings("mqtt://[::1]:1884", "l4").port == 1884


@pytest.mark.parametrize(
    "url", ["localhost", "http://h", "mqtt://", "mqtt://h:0", "mqtt://h:x", "mqtt://h/topic"]
)
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(LocalError, match=r"mqtt://HOST\[:PORT\]"):
        load_broker_settings(url, "l4")


def test_no_secret_in_an_address() -> None:
    with pytest.raises(LocalError, match="belong into mqtt_file") as refused:
        load_broker_settings("mqtt://ann:hidden@h", "l4")
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("host = 'h'", "host is not a setting"),
        ("user = 1", "user: str wanted"),
        ("node = 'a/b'", "node 'a/b'"),
        ("topics = ['packets']", "topics packets"),
        ("telemetry_qos = 2", "telemetry_qos 2"),
        ("certificate = 'c'", "mqtts:// alone"),
        ("password = 'hidden'", "without user"),
        ("password = hidden", "no TOML"),
    ],
)
def test_a_wrong_line_is_named_with_its_file(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "broker.toml"
    file.touch(0o600)
    file.write_text(text)
    with pytest.raises(LocalError, match=r"broker\.toml: ") as refused:
        load_broker_settings("mqtt://h", "l4", str(file))
    assert named in str(refused.value)
    assert "hidden" not in str(refused.value)


def test_a_password_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "broker.toml"
    file.write_text("user = 'b'\npassword = 'hidden'\n")
    file.chmod(0o644)
    with pytest.raises(LocalError, match="mode 644"):
        load_broker_settings("mqtt://h", "l4", str(file))
    file.chmod(0o440)  # as systemd gives credentials to a service's user
    assert load_broker_settings("mqtts://h", "l4", str(file)).user == "b"
    with pytest.raises(LocalError, match=r"missing\.toml: No such file"):
        load_broker_settings("mqtt://h", "l4", str(tmp_path / "missing.toml"))
