"""The runbooks followed word by word under a real systemd: `make trial-systemd` (root; debootstrap,
systemd-nspawn; no systemd on the host is needed).

A small Debian is booted with a network of loopback alone.  The fenced commands of install.md are
given to its shell as they stand, but for the words that they tell the reader to replace; then those
of upgrade.md, roll-back.md and lost-database.md.  Between them services are killed, stopped until
their watchdog ends them, and left without room on the disk; keys are rotated.  At the end
`l4 audit` proves from the capture that nothing is missing.  MemoryMax= counts only where the host
gives its memory controller to cgroup2.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.certificates import Authority
from tests.long.debian import ROOT, debian, make_trial, pip_settings, run, say, wheelhouse

RUNBOOKS = ROOT / "deploy/runbooks"
PACKAGES = (
    "systemd,systemd-sysv,dbus,libpam-systemd,python3,python3-venv,sudo,chrony,curl,iproute2,"
    "ca-certificates,nginx-light,mosquitto,mosquitto-clients"
)
HOST = "ground.example.org"
DIRECTORY = "--run-dir /var/lib/l4"
SERVICES = (
    "bus", "receive", "monitor", "archive", "scheduling", "command", "timing", "mission_centre",
    "relay", "console",
)  # fmt: skip
UPGRADE = (
    f"curl -sS -i -N --max-time 3 --http1.1 --cacert /root/certificates/ca.pem https://{HOST}:8443"
    "/api/v1/live -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13'"
    f" -H 'Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==' -H 'Origin: https://{HOST}:8443'"
)


class Machine:
    """A Debian whose first process is systemd."""

    def __init__(self, root: Path, *binds: str) -> None:
        self._log = root.with_name("boot.log").open("w")
        self._nspawn = subprocess.Popen(
            ["systemd-nspawn", "--directory", root, "--machine=l4-trial", "--register=no",
             "--keep-unit", "--private-network", "--boot", "--console=pipe",
             *[f"--bind-ro={bind}" for bind in binds]],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
            env={"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )  # fmt: skip
        self._leader = ""
        self.wait("booted", lambda: self.sh("systemctl is-system-running", False) == "running")

    def sh(self, script: str, check: bool = True, given: str = "") -> str:
        """What root's shell in there says, in the root of the source."""
        if not self._leader:
            children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
            time.sleep(0.5)
            self._leader = children.read_text().strip()
            if not self._leader:
                return ""
        enter = ("nsenter", "--target", self._leader, "--mount", "--uts", "--ipc", "--net", "--pid")
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        shell = ("env", "-i", path, "HOME=/root", "LANG=C.UTF-8", "bash", "-e", "-o", "pipefail")
        script = f"cd /root/source\n{script}"
        return run(*enter, "--cgroup", *shell, "-c", script, check=check, input=given).strip()

    def wait(self, what: str, well: Callable[[], object], patience_s: float = 300) -> None:
        began = time.monotonic()
        while not well():
            if time.monotonic() - began > patience_s:
                journal = self.sh("journalctl -p warning -o cat --no-pager | tail -30", False)
                raise SystemExit(f"{what}: not within {patience_s:.0f} s\n{journal}")
            time.sleep(1)
        say(f"{what}: after {time.monotonic() - began:.0f} s")

    def off(self) -> None:
        self._nspawn.send_signal(signal.SIGTERM)  # an orderly end
        try:
            self._nspawn.wait(60)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()
        self._log.close()


def commands(page: str, **words: str) -> list[str]:
    """The fenced blocks of a runbook, with what it tells the reader to replace."""
    text = (RUNBOOKS / f"{page}.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, re.S)
    for word, given in words.items():
        blocks = [re.sub(rf"\b{word}\b", given, block) for block in blocks]
    return blocks


def well(machine: Machine) -> bool:
    return "all well" in machine.sh(f"sudo -u l4 l4 status {DIRECTORY}", False)


def all_active(machine: Machine) -> bool:
    units = " ".join(f"l4-ground@{one}" for one in SERVICES)
    return set(machine.sh(f"systemctl is-active {units}", False).split()) == {"active"}


def no_error(machine: Machine) -> None:
    said = machine.sh(f"sudo -u l4 l4 doctor {DIRECTORY}", False)
    assert "\n0 errors" in said, said


def install(machine: Machine, version: str) -> None:
    blocks = commands("install", VERSION=version, NAME="ann")
    answers = {"console set-up": "correct-horse-battery\n", "mosquitto_passwd": "word\nword\n"}
    for block in blocks:
        if "doctor" in block:
            no_error(machine)
            continue
        if "mqtt_bridge" in block:
            machine.sh(
                f"echo 'mqtt = \"mqtts://{HOST}\"' >> /etc/l4/run.toml\n"
                "echo 'mqtt_file = \"/run/credentials/l4-ground@mqtt_bridge.service/mqtt.toml\"'"
                " >> /etc/l4/run.toml\n"
                "install -m 0600 /dev/null /etc/l4/mqtt.toml\n"
                'printf \'user = "bridge"\npassword = "word"\nauthority = '
                '"/etc/mosquitto/certs/ca.pem"\n\' > /etc/l4/mqtt.toml'
            )
        given = next((text for part, text in answers.items() if part in block), "")
        # `l4 status` is not well before a station is heard, and the runbook says so.
        machine.sh(block, check="l4 status" not in block, given=given)
        if "l4 status" in block:
            assert all_active(machine), machine.sh("systemctl --failed --no-pager", False)
            say("installed; all services active under their hardening")


def around(machine: Machine) -> None:
    """Proxy and broker as the runbook has set them up."""
    token = machine.sh(f"sudo -u l4 l4 console token ann --json {DIRECTORY}")
    secret = json.loads(token)["token"]
    said = machine.sh(
        f"{UPGRADE} -H 'Authorization: Bearer {secret}' | head -1 | tr -d '\\r'", False
    )
    assert "101" in said, said
    client = f"--cafile /etc/mosquitto/certs/ca.pem -h {HOST} -p 8883"
    machine.sh("mosquitto_passwd -b /etc/mosquitto/l4.passwd viewer other")
    machine.sh("systemctl restart mosquitto")
    heard = f"mosquitto_sub {client} -u viewer -P other -W 60 -C 1 -t"
    assert "SCET" in machine.sh(f"{heard} 'l4r/v1/+/+/telemetry/#'").upper()
    nobody = machine.sh(f"mosquitto_sub {client} -W 5 -C 1 -t '#'", False)
    assert "not authorised" in nobody, nobody
    say("proxy: TLS, WebSocket; broker: TLS, passwords, access list")


def kills(machine: Machine) -> None:
    for one in SERVICES:
        machine.sh(f"systemctl kill -s KILL l4-ground@{one}")
    machine.wait("all killed; well again", lambda: all_active(machine) and well(machine))
    drop_in = "/run/systemd/system/l4-ground@monitor.service.d"
    machine.sh(f"mkdir -p {drop_in}; printf '[Service]\nWatchdogSec=10\n' > {drop_in}/w.conf")
    machine.sh("systemctl daemon-reload; systemctl restart l4-ground@monitor")
    machine.sh("systemctl kill -s STOP --kill-whom=main l4-ground@monitor")
    journal = "journalctl -u l4-ground@monitor -o cat --no-pager"
    machine.wait("stopped; the watchdog fires", lambda: machine.sh(
        f"{journal} | grep -c \"Failed with result 'watchdog'\"", False) != "0", 60)  # fmt: skip
    assert "most recent call first" in machine.sh(journal)
    machine.sh(f"rm -r {drop_in}; systemctl daemon-reload")
    machine.wait("and well again", lambda: all_active(machine) and well(machine))


def version_by_version(machine: Machine, old: str, new: str) -> None:
    for block in commands("upgrade", NEW=new, NUMBER="1"):
        machine.sh(block.replace(" --follow", ""), check="diff " not in block)
    assert machine.sh("l4 --version") == new
    machine.wait(f"upgraded to {new}, well", lambda: well(machine))
    back, *rest = commands("roll-back", OLD=old)
    machine.sh(back)
    for block in rest:
        machine.sh(block)
    assert machine.sh("l4 --version") == old
    machine.wait(f"rolled back to {old}, archive made anew, well", lambda: well(machine))
    no_error(machine)


def databases(machine: Machine) -> None:
    machine.sh("systemctl start l4-backup.service")
    archive, copied, journal, capture, disk, after = commands("lost-database")
    damage = "dd if=/dev/urandom of=/var/lib/l4/archive/archive.sqlite bs=4096 seek=4 count=5"
    stop = "systemctl stop l4-ground.target 'l4-ground@*'"
    machine.sh(f"{stop}\n{damage} conv=notrunc")
    machine.sh(archive.replace("\n", " || true\n"))  # a check that finds the damage says 1
    machine.wait("a damaged archive made anew", lambda: well(machine))
    for block in (copied, journal, capture):
        machine.sh(block)
    machine.wait("a command database from the backup, a journal made anew", lambda: well(machine))
    # A backup of this moment: what comes after it would be lost with the disk.
    machine.sh(f"systemctl stop l4-spacecraft-sim; sleep 5; {stop}; systemctl start l4-backup")
    machine.sh(disk)
    machine.sh(after)
    assert machine.sh("readlink /var/lib/l4/run.toml") == "/etc/l4/run.toml"
    said = machine.sh(f"{stop}; sudo -u l4 l4 audit /var/lib/l4", False)
    assert "all that was promised is there, once" in said, said
    say("a lost disk from the backup; audited: all that was promised is there, once")


def full_disk(machine: Machine) -> None:
    stop = "systemctl stop l4-ground.target 'l4-ground@*'"
    machine.sh(
        f"{stop}; mv /var/lib/l4 /var/lib/real; mkdir /var/lib/l4\n"
        "mount -t tmpfs -o size=96m,mode=0750,uid=l4,gid=l4 disk /var/lib/l4\n"
        "cp -a /var/lib/real/. /var/lib/l4/; systemctl start l4-ground.target\n"
        "dd if=/dev/zero of=/var/lib/l4/fill bs=1M || true"
    )
    time.sleep(45)  # longer than ten restarts take
    assert not well(machine)
    machine.sh("rm /var/lib/l4/fill")
    machine.wait("disk full; room again, well without a hand", lambda: well(machine), 120)
    machine.sh(
        f"{stop}; cp -a /var/lib/l4/. /var/lib/real/; umount /var/lib/l4; rmdir /var/lib/l4\n"
        "mv /var/lib/real /var/lib/l4; systemctl start l4-ground.target"
    )


def keys(machine: Machine) -> None:
    machine.sh("sudo -u l4 l4 keys rotate --all --in 15 --keys /var/lib/l4/keys")
    time.sleep(20)
    machine.sh("systemctl restart l4-ground@monitor")
    machine.wait("keys rotated while all runs", lambda: well(machine))


def trial(work: Path) -> None:
    version = wheelhouse(work)
    new = f"{version}.post1"
    text = (work / "source/pyproject.toml").read_text()
    (work / "source/pyproject.toml").write_text(text.replace(f'"{version}"', f'"{new}"', 1))
    pip = (work / "python/bin/pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", work / "wheels")
    run(*pip, work / "source")
    debian(work / "debian", PACKAGES)
    root = work / "machine"
    shutil.rmtree(root, ignore_errors=True)
    run("cp", "-a", work / "debian", root)
    pip_settings(root / "etc/pip.conf", "/srv/wheels")
    (root / "etc/hostname").write_text("l4-trial\n")
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost l4-trial {HOST}\n")
    certificates = root / "root/certificates"
    certificates.mkdir()
    authority = Authority(certificates)
    issued = authority.issue(HOST)
    for directory, name in (("l4/certificates", "console"), ("mosquitto/certs", "broker")):
        (root / "etc" / directory).mkdir(parents=True, exist_ok=True)
        shutil.copy(issued.certificate, root / "etc" / directory / f"{name}.pem")
        shutil.copy(issued.key, root / "etc" / directory / f"{name}.key")
        shutil.copy(authority.file, root / "etc" / directory / "ca.pem")
    (root / "root/source").mkdir()
    machine = Machine(root, f"{work / 'wheels'}:/srv/wheels", f"{ROOT}:/root/source")
    try:
        install(machine, version)
        machine.wait("telemetry of the simulated spacecraft arrives", lambda: well(machine))
        no_error(machine)
        around(machine)
        kills(machine)
        keys(machine)
        version_by_version(machine, version, new)
        full_disk(machine)
        databases(machine)
    finally:
        machine.off()


def main() -> None:
    make_trial(__doc__, "systemd", ("debootstrap", "systemd-nspawn", "nsenter"), trial)


if __name__ == "__main__":
    main()
