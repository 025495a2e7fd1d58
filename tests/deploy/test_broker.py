"""The broker of deploy/mosquitto, run: TLS alone, nobody without a name, one who writes."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.certificates import for_localhost
from tests.conftest import PROGRAM_PATH

DEPLOY = Path(__file__).parents[2] / "deploy/mosquitto"
pytestmark = pytest.mark.program("mosquitto", "mosquitto_pub", "mosquitto_sub", "mosquitto_passwd")


class Broker:
    def __init__(self, directory: Path) -> None:
        self.authority, key = for_localhost(directory)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        passwords = directory / "passwords"
        for i, name in enumerate(("bridge", "viewer", "alarms")):
            create = ["-c"] if i == 0 else []
            command = ["mosquitto_passwd", *create, "-b", str(passwords), name, f"{name}-word"]
            subprocess.run(command, check=True, capture_output=True)
        text = (DEPLOY / "mosquitto.conf").read_text()
        for old, new in (
            ("/etc/mosquitto/l4.passwd\nacl", f"{passwords}\nacl"),
            ("/etc/mosquitto/l4.acl", str(DEPLOY / "l4.acl")),
            ("listener 8883", f"listener {self.port} 127.0.0.1"),
            ("/etc/mosquitto/certs/ca.pem", str(self.authority)),
            ("/etc/mosquitto/certs/broker.pem", str(self.authority)),
            ("/etc/mosquitto/certs/broker.key", str(key)),
        ):
            assert old in text, old
            text = text.replace(old, new)
        # Included where Debian's file says its own; a setting that stands twice is refused.
        # Started as root, it would become another user, who cannot write here.
        debian = f"persistence true\npersistence_location {directory}/\nuser root\n"
        (directory / "l4.conf").write_text(text)
        main = f"{debian}include_dir {directory}\n"
        (directory / "main").mkdir()
        (directory / "main/mosquitto.conf").write_text(main)
        program = shutil.which("mosquitto", path=PROGRAM_PATH)
        assert program is not None
        self.process = subprocess.Popen(
            [program, "-c", str(directory / "main/mosquitto.conf")],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        deadline = time.monotonic() + 30
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            assert self.process.poll() is None, self.process.stdout and self.process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def run(self, program: str, *arguments: str, name: str = "", tls: bool = True):
        who = ["-u", name, "-P", f"{name}-word"] if name else []
        secured = ["--cafile", str(self.authority)] if tls else []
        return subprocess.run(
            [program, "-h", "localhost", "-p", str(self.port), *secured, *who, *arguments],
            capture_output=True,
            text=True,
            timeout=30,
        )


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    one = Broker(tmp_path_factory.mktemp("broker"))
    yield one
    one.process.kill()
    one.process.communicate()


ALARM = "l4r/v1/l4_relay/ground/alarms/limit/PWR"


def heard(broker: Broker, name: str, topic: str) -> str:
    """What is retained there, as somebody is given it."""
    done = broker.run("mosquitto_sub", "-t", topic, "-W", "1", "--retained-only", name=name)
    return done.stdout


def test_the_bridge_writes_and_each_reads_what_is_for_them(broker: Broker) -> None:
    for topic, text in ((ALARM, "low"), ("l4r/v1/l4_relay/ground/time", "now")):
        done = broker.run("mosquitto_pub", "-q", "1", "-r", "-t", topic, "-m", text, name="bridge")
        assert done.returncode == 0, done.stderr
    assert sorted(heard(broker, "viewer", "l4r/v1/#").split()) == ["low", "now"]
    assert heard(broker, "alarms", "l4r/v1/#").split() == ["low"]
    assert heard(broker, "bridge", "l4r/v1/#") == ""


def test_nobody_else_writes(broker: Broker) -> None:
    for name in ("viewer", "alarms"):
        broker.run("mosquitto_pub", "-q", "1", "-r", "-t", f"{ALARM}/{name}", "-m", "x", name=name)
        assert heard(broker, "viewer", f"{ALARM}/{name}") == ""


def test_not_without_name_or_tls_or_with_a_wrong_password(broker: Broker) -> None:
    publish = ("mosquitto_pub", "-q", "1", "-t", ALARM, "-m", "x")
    assert broker.run(*publish).returncode != 0
    assert broker.run(*publish, name="bridge", tls=False).returncode != 0
    assert broker.run(*publish, "-u", "bridge", "-P", "guess").returncode != 0
    assert broker.run(*publish, name="bridge").returncode == 0
