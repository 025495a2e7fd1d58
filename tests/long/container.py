"""deploy/container built and run: `make trial-container` (root; debootstrap, buildah, podman).

The two base images are stand-ins made here by debootstrap under the names that the files ask for:
Debian's own Python and nginx.  Every container is made with what compose.yaml says of it, option by
option, but for the network, which is none: all of them meet on one loopback as there, and the
proxy's port is not published.  Podman starts no timers where systemd is not: health is asked for
here, by the check of compose.yaml.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.certificates import for_localhost
from tests.long.debian import ROOT, debian, make_trial, pip_settings, run, say, wheelhouse

COMPOSE = ROOT / "deploy/container/compose.yaml"
DOCKERFILE = ROOT / "deploy/container/Dockerfile"
PACKAGES = "python3,python3-venv,python-is-python3,ca-certificates,nginx-light,wget"
#: As nginxinc/nginx-unprivileged has it: another user, all that is written in /tmp.
NGINX = """pid /tmp/nginx.pid; error_log /dev/stderr;
events {}
http { access_log off; client_body_temp_path /tmp/b; proxy_temp_path /tmp/p;
  fastcgi_temp_path /tmp/f; uwsgi_temp_path /tmp/u; scgi_temp_path /tmp/s;
  include /etc/nginx/conf.d/*.conf; }
"""
#: A request to change to WebSocket, by way of the proxy; prints the status of the answer.
UPGRADE = """
import base64, os, socket, ssl, sys
context = ssl.create_default_context(cafile="/etc/l4/certificates/console.pem")
plain = socket.create_connection(("127.0.0.1", 8443))
with context.wrap_socket(plain, server_hostname="localhost") as one:
    key = base64.b64encode(os.urandom(16)).decode()
    lines = ["GET /api/v1/live HTTP/1.1", "Host: localhost:8443", "Connection: Upgrade",
             "Origin: https://localhost:8443", "Upgrade: websocket",
             "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}",
             f"Authorization: Bearer {sys.argv[1]}", "", ""]
    one.sendall("\\r\\n".join(lines).encode())
    print(one.recv(100).split()[1].decode())
"""


class Engine:
    """Podman with a store of its own."""

    def __init__(self, work: Path) -> None:
        self._work = work
        runtime = next(one for one in ("runc", "crun") if shutil.which(one))
        # Limits that nobody here may raise are refused by the kernel where root is not all of root.
        (work / "containers.conf").write_text(
            '[containers]\ndefault_ulimits = ["nofile=16384:16384", "nproc=4096:4096"]\n'
            '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
            f'runtime = "{runtime}"\n'
        )
        self._environment = os.environ | {"CONTAINERS_CONF": str(work / "containers.conf")}
        self._store = ("--root", work / "store", "--runroot", work / "run")
        self._store += ("--storage-driver", "overlay")

    def __call__(self, *words: object, check: bool = True) -> str:
        return run("podman", *self._store, *words, check=check, env=self._environment)

    def buildah(self, *words: object) -> str:
        return run("buildah", *self._store, *words, env=self._environment, cwd=ROOT)

    def base(self, root: Path, name: str, *configuration: str) -> None:
        """A root directory as an image."""
        container = self.buildah("from", "scratch").split()[-1]
        self.buildah("add", "--quiet", container, root, "/")
        self.buildah("config", *configuration, container)
        self.buildah("commit", "--quiet", "--rm", container, name)

    def state(self, name: str) -> dict[str, Any]:
        return json.loads(self("inspect", name))[0]


def options(one: dict[str, Any], volumes: Path) -> list[object]:
    """Of `podman run`, for what a service of compose.yaml says."""
    found: list[object] = ["--restart", one.get("restart", "no"), "--pids-limit"]
    found += [one.get("pids_limit", 0), "--memory", one["mem_limit"]]
    found += ["--read-only"] * one["read_only"]
    found += [f"--cap-drop={cap}" for cap in one["cap_drop"]]
    found += [f"--security-opt={option.replace(':true', '')}" for option in one["security_opt"]]
    found += [f"--tmpfs={mount}" for mount in one["tmpfs"]]
    for volume in one["volumes"]:
        source, _, target = volume.partition(":")
        if source.startswith("."):
            source = volumes if "certificates" in source else (COMPOSE.parent / source).resolve()
        else:
            source = f"l4-{source}"
        found += ["--volume", f"{source}:{target}"]
    if "user" in one:
        found += ["--user", one["user"]]
    if "entrypoint" in one:
        found += ["--entrypoint", json.dumps(one["entrypoint"])]
    if "stop_grace_period" in one:
        found += ["--stop-timeout", one["stop_grace_period"].removesuffix("s")]
    return found


class Site:
    def __init__(self, podman: Engine, certificates: Path) -> None:
        self.podman, self._certificates = podman, certificates
        services: dict[str, dict] = yaml.safe_load(COMPOSE.read_text())["services"]
        profiles = {"simulator"}
        self.services = {
            name: one
            for name, one in services.items()
            if profiles.issuperset(one.get("profiles", []))
        }

    def start(self) -> None:
        for name, one in self.services.items():
            network = "none" if name == "bus" else "container:l4-bus"
            given = options(one, self._certificates)
            made = ("run", "--detach", "--pull=never", "--name", f"l4-{name}", "--network", network)
            self.podman(*made, *given, one["image"], *one.get("command", []))
            if name in ("bus", "console"):  # who depends on it waits
                self.wait(f"{name} healthy", lambda name=name: self.healthy(name))

    def healthy(self, name: str) -> bool:
        """By the check that compose.yaml has of it, inside; the simulator has none."""
        if "healthcheck" not in self.services[name]:
            return True
        kind, *words = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        said = self.podman(
            "exec", f"l4-{name}", "sh", "-c", '"$@" >/dev/null 2>&1 && echo well', "-", *words,
            check=False,
        )  # fmt: skip
        return said.strip().endswith("well")

    def wait(self, what: str, well: Callable[[], bool], patience_s: float = 400) -> None:
        began = time.monotonic()
        while not well():
            if time.monotonic() - began > patience_s:
                logs = [f"{one}: {self.podman('logs', '--tail=5', f'l4-{one}', check=False)}"
                        for one in self.services]  # fmt: skip
                raise SystemExit(f"{what}: not within {patience_s:.0f} s\n" + "\n".join(logs))
            time.sleep(1)
        say(f"{what}: after {time.monotonic() - began:.0f} s")

    def l4(self, *words: object, check: bool = True) -> str:
        return self.podman("exec", "l4-console", "l4", *words, check=check)

    def packets(self) -> int:
        with_archive = self.l4("doctor", "--run-dir", "/var/lib/l4", "--json", check=False)
        texts = [one["text"] for one in json.loads(with_archive)["findings"]]
        (said,) = (one for one in texts if " packets, " in one)
        return int(said.split(", ")[1].split()[0].replace(",", ""))

    def all_well(self) -> bool:
        status = self.l4("status", "--run-dir", "/var/lib/l4", check=False)
        return "all well" in status

    def end(self) -> None:
        names = [f"l4-{name}" for name in reversed(self.services)]
        self.podman("stop", "--ignore", *names, check=False)
        for name in names:  # the bus last: the others are in its namespace
            self.podman("rm", "--force", "--ignore", name)


def kills(site: Site) -> None:
    """Each service killed outright is started again by its restart policy."""
    for name, one in site.services.items():
        if "restart" not in one or name == "bus":  # the others are in the bus's namespace
            continue
        before = site.podman.state(f"l4-{name}")["State"]["Pid"]
        os.kill(before, signal.SIGKILL)

        def again(name: str = name, before: int = before) -> bool:
            state = site.podman.state(f"l4-{name}")["State"]
            return state["Running"] and state["Pid"] != before and site.healthy(name)

        site.wait(f"{name} killed, again healthy", again, 120)


def trial(work: Path) -> None:
    version = wheelhouse(work)
    root = work / "base"
    debian(root, PACKAGES)
    (root / "etc/nginx/nginx.conf").write_text(NGINX)
    pip_settings(work / "pip.conf", "/wheels")
    podman = Engine(work)
    bases = {line.split()[1] for line in DOCKERFILE.read_text().splitlines() if "FROM " in line}
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    for base in bases:
        podman.base(root, f"docker.io/library/{base}")
    proxy = services["proxy"]["image"]
    podman.base(root, f"docker.io/{proxy}", "--user=101:101", "--cmd=nginx -g 'daemon off;'")
    say("building …")
    image = services["bus"]["image"]
    assert image.endswith(f":{version}"), f"{image}: we are {version}"
    podman.buildah(
        "bud", "--pull-never", "--network=host", "--isolation=chroot", "--tag", image,
        "--volume", f"{work / 'wheels'}:/wheels:ro",
        "--volume", f"{work / 'pip.conf'}:/etc/pip.conf:ro",
        "--ignorefile", f"{DOCKERFILE}.dockerignore", "--file", DOCKERFILE, ".",
    )  # fmt: skip
    certificates = work / "certificates"
    certificates.mkdir(exist_ok=True)
    made = for_localhost(certificates, days=2)
    made.certificate.rename(certificates / "console.pem")
    made.key.rename(certificates / "console.key").chmod(0o644)  # another user's inside
    site = Site(podman, certificates)
    site.end()
    podman("volume", "rm", "--force", "l4-run", "l4-cache")
    prove(site, certificates, image)


def prove(site: Site, certificates: Path, image: str) -> None:
    """What was built, at work, killed, and made anew."""
    podman = site.podman
    try:
        site.start()
        site.wait("all well, telemetry arrives", site.all_well)
        refused = podman("exec", "l4-bus", "touch", "/opt/l4/x", check=False)
        assert "Read-only file system" in refused, refused
        assert podman("exec", "l4-bus", "id", "-u").strip() == "10001"
        assert site.healthy("proxy")
        set_up = "echo correct-horse-battery | l4 console set-up ann --run-dir /var/lib/l4"
        podman("exec", "l4-console", "sh", "-c", set_up)
        token = site.l4("console", "token", "ann", "--json", "--run-dir", "/var/lib/l4")
        (certificates / "upgrade.py").write_text(UPGRADE)
        mount = ("--volume", f"{certificates}:/etc/l4/certificates:ro", "--entrypoint", "python")
        asked = ("run", "--rm", "--network=container:l4-bus", *mount, image)
        said = podman(*asked, "/etc/l4/certificates/upgrade.py", json.loads(token)["token"])
        assert said.split() == ["101"], said
        say("the console by way of the proxy: TLS, WebSocket")
        kills(site)
        site.wait("all well after the kills", site.all_well)
        before = site.packets()
        site.end()
        say("all ended and removed; made anew on the volumes")
        site.start()
        site.wait("all well again", site.all_well)
        after = site.packets()
        assert after >= before > 0, (before, after)
        say(f"{before:,} packets were archived before, {after:,} are now")
        site.end()
        kept = ("--rm", "--network=none", "--volume", "l4-run:/var/lib/l4", "--entrypoint", "l4")
        said = podman("run", *kept, image, "audit", "/var/lib/l4", check=False)
        assert "all that was promised is there, once" in said, said[-2000:]
        say("audited: all that was promised is there, once")
    finally:
        site.end()


def main() -> None:
    # podman takes either.
    runtime = "runc" if not shutil.which("crun") else "crun"
    make_trial(__doc__, "container", ("debootstrap", "buildah", "podman", runtime), trial)


if __name__ == "__main__":
    main()
