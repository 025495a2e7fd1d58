"""A real site seen by those who watch it: scraped, traced, logged, and behind a reverse proxy."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import connect

from ground.client import Ground
from ground.config import (
    ARCHIVE,
    BUS,
    COMMAND,
    CONSOLE,
    MONITOR,
    RECEIVE,
    free_base_port,
    prepare_run_directory,
)
from ground.doctor import site as doctor
from ground.doctor.finding import Level
from ground.metrics import HELP
from ground.run import at_rest
from ground.trace import trace
from protocols.errors import LocalError
from tests.certificates import for_localhost
from tests.conftest import PROGRAM_PATH
from tests.end_to_end.site import Site

DEPLOY = Path(__file__).parents[2] / "deploy"
SERVICES = (BUS, RECEIVE, MONITOR, ARCHIVE, COMMAND, CONSOLE)
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("L4_LOG_FORMAT", "json")
        settings = prepare_run_directory(
            tmp_path_factory.mktemp("run"),
            speed=60,
            base_port=free_base_port(),
            command=True,
            console=True,
            behind_proxy=True,
        )
        one = Site(settings)
        try:
            for name in SERVICES:
                one.start(name)
            scenario = settings.run_dir / "scenario.toml"
            scenario.write_text("[mars]\npresent = false\n")
            one.start_spacecraft(5, str(scenario))
            one.wait_for_more(ARCHIVE, 100, "packets")
            one.wait_for(lambda: one.status[MONITOR].counters.get("events", 0) > 0)
            one.wait_for(lambda: all(one.status[name].state == "running" for name in SERVICES))
            yield one
        finally:
            one.close()


def scrape(site: Site, service: str, path: str = "/metrics") -> tuple[int, str, str]:
    port = site.settings.metrics_ports[service]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.getheader("Content-Type", ""), answer.read().decode()


def samples(site: Site, service: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    status, kind, text = scrape(site, service)
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        for sample in family.samples:
            assert sample.labels["service"] == service
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def test_every_service_is_scraped(site: Site) -> None:
    served = {service: samples(site, service) for service in SERVICES}
    for service, found in served.items():
        assert found["l4_service_healthy"][0][1] == 1, scrape(site, service, "/healthz")
        assert "l4_status_counter" not in found, found["l4_status_counter"]
        assert found["process_cpu_seconds_total"][0][1] > 0
        assert set(found) <= set(HELP)
    frames = {labels["vcid"]: value for labels, value in served[RECEIVE]["l4_receive_frames_total"]}
    assert sum(frames.values()) > 10
    assert "0" in frames
    states = {labels["state"]: value for labels, value in served[RECEIVE]["l4_link_state"]}
    assert states == {"OK": 1, "UNAVAILABLE": 0, "DISABLED": 0, "FAILED": 0}
    ((_, light_time_s),) = served[RECEIVE]["l4_link_light_time_seconds"]
    assert light_time_s == pytest.approx(5)
    # What the status says on the bus is what is scraped.
    site.look()
    assert served[ARCHIVE]["l4_archive_samples_total"][0][1] > 0
    assert {labels["state"] for labels, _ in served[COMMAND]["l4_commands"]} >= {"held", "unknown"}


def test_what_dashboard_and_alerts_ask_of_these_services_is_served(site: Site) -> None:
    served = {name for service in SERVICES for name in samples(site, service)}
    panels = json.loads((DEPLOY / "grafana/l4-ground.json").read_text())["panels"]
    asked = " ".join(t["expr"] for panel in panels for t in panel.get("targets", []))
    asked += (DEPLOY / "prometheus/alerts.yml").read_text()
    names = set(re.findall(r"\b(?:l4|process)_\w+", asked))
    # Of services that this site does not run.
    others = re.compile(r"l4_(pass|schedule|timing|relay|centre|mqtt|antenna)_")
    assert {name for name in names if not others.match(name)} <= served


def test_doctor_and_repairs_go_by_what_healthz_says(site: Site) -> None:
    status, kind, text = scrape(site, MONITOR, "/healthz")
    assert (status, kind) == (200, "application/json")
    assert json.loads(text)["run_dir"] == str(site.settings.run_dir)
    findings = list(doctor.services(site.settings))
    assert [one.text for one in findings if one.level is not Level.OK] == []
    # Whoever repairs files is refused while services have them.
    with pytest.raises(LocalError, match="bus, receive, monitor"), at_rest(site.settings.run_dir):
        pass


def test_from_an_event_in_the_log_to_the_octets_captured(site: Site) -> None:
    lines = [
        json.loads(line)
        for line in (site.settings.run_dir / "monitor.log").read_text().splitlines()
        if line.startswith("{")
    ]
    event = next(line for line in lines if line.get("event") == 0)
    found = trace(site.settings, str(event["event"]))
    assert found["event"]["name"] == event["name"]
    assert found["packet"]["journal"] == event["packets_journal"]
    assert found["packet"]["journal_sequence"] <= event["packets_sequence"]
    assert found["frame"]["ert"] == event["ert"]
    # The text of an on-board event stands in the octets of its packet.
    text = event["message"].encode()
    assert text[:20].hex() in found["packet"]["hex"]
    capture = site.settings.capture_dir / found["capture"]["file"]
    assert found["capture"]["end_offset"] <= capture.stat().st_size
    assert found["capture"]["ert"] == event["ert"]
    assert trace(site.settings, event["name"])["event"]["name"] == event["name"]
    with pytest.raises(LocalError, match="no event 'NOTHING'"):
        trace(site.settings, "NOTHING")


def test_logs_are_lines_of_json_without_secrets(site: Site) -> None:
    (token,) = re.findall(r"/setup#(\S+)", site.settings.setup_link.read_text())
    for name in SERVICES:
        text = (site.settings.run_dir / f"{name}.log").read_text()
        assert token not in text
        lines = [json.loads(line) for line in text.splitlines()]
        assert lines, name
        assert {"time", "level", "logger", "pid", "message"} <= set(lines[0])
        assert all(line["level"] == "info" for line in lines if line["logger"] == f"l4.{BUS}")


@contextlib.contextmanager
def nginx(site: Site, directory: Path) -> Iterator[tuple[int, ssl.SSLContext]]:
    """Ours, with ports and paths of the test: (port, context that trusts it)."""
    certificates = for_localhost(directory)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    text = (DEPLOY / "nginx/l4-console.conf").read_text()
    for old, new in (
        ("listen [::]:8443 ssl http2;", ""),
        ("listen 8443", f"listen 127.0.0.1:{port}"),
        ("127.0.0.1:21567", f"127.0.0.1:{site.settings.console_port}"),
        ("/etc/l4/certificates/console.pem", str(certificates.certificate)),
        ("/etc/l4/certificates/console.key", str(certificates.key)),
    ):
        assert old in text
        text = text.replace(old, new)
    (directory / "console.conf").write_text(text)
    (directory / "nginx.conf").write_text(
        f"daemon off; pid {directory}/pid; error_log {directory}/error.log;\n"
        "events {}\n"
        f"http {{ access_log off; include {directory}/console.conf;\n"
        + "".join(
            f"{kind}_temp_path {directory}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        + "}\n"
    )
    program = shutil.which("nginx", path=PROGRAM_PATH)
    assert program is not None
    command = [program, "-c", str(directory / "nginx.conf"), "-p", str(directory)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 30
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                assert process.poll() is None, process.stderr and process.stderr.read()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield port, ssl.create_default_context(cafile=str(certificates.certificate))
        finally:
            process.terminate()


@pytest.mark.program("nginx")
def test_the_console_through_the_proxy(site: Site, tmp_path: Path) -> None:
    url, token = site.settings.setup_link.read_text().strip().split("/setup#")
    with Ground(url) as first:
        first.set_up(token, "ann", "correct horse battery")
    token_command = ["console", "token", "ann", "--run-dir", str(site.settings.run_dir)]
    made = subprocess.run(
        [sys.executable, "-m", "ground.cli", *token_command],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (secret,) = re.findall(r"\bl4_\S+", made)
    with nginx(site, tmp_path) as (port, trusting):
        with contextlib.closing(
            http.client.HTTPSConnection("localhost", port, context=trusting, timeout=20)
        ) as connection:
            connection.request("GET", "/")
            answer = connection.getresponse()
            assert answer.status == 200
            assert answer.getheader("Strict-Transport-Security") == "max-age=31536000"
            assert "nginx/" not in answer.getheader("Server", "")
            answer.read()
            # Guessing is slow: of twenty at once, some are not even asked.
            said = set()
            for _ in range(20):
                kind = {"Content-Type": "application/json"}
                connection.request("POST", "/api/v1/session", b"{}", kind)
                answer = connection.getresponse()
                answer.read()
                said.add(answer.status)
            assert 503 in said
            assert len(said) > 1

        async def first_word() -> dict:
            # As a browser: it says which page it comes from, and that has to be the proxy's.
            origin = f"https://localhost:{port}"
            headers = {"authorization": f"Bearer {secret}", "origin": origin}
            address = f"wss://localhost:{port}/api/v1/live"
            async with connect(address, ssl=trusting, additional_headers=headers) as stream:
                return json.loads(await asyncio.wait_for(stream.recv(), 20))

        assert "parameters" in json.dumps(asyncio.run(first_word()))[:5000]
