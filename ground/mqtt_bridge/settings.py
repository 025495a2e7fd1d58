"""Where the broker is and what it is told, from the run's settings and a file of the operator's.

The file is TOML, each line of it optional:

    user = "bridge"              password = "…"      # others must then be unable to read the file
    authority = "ca.pem"         # mqtts: who signs the broker's certificate; default: the system's
    certificate = "bridge.pem"   key = "bridge.key"  # mqtts: our own, if the broker wants one
    plain = true                 # mqtt:// to another machine: anybody between may read and forge
    node = "ground"              # this site's level of the topic tree
    topics = ["events", "alarms"]                    # of `TOPICS`; default: all
    telemetry_qos = 1            # default 0

Nothing secret stands in the address, in an argument list or in a log.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ground.documents import toml_of
from ground.keyring import SECRET_FROM, check_secret
from protocols.bus.access import is_loopback_host
from protocols.errors import LocalError

ROOT: Final = "l4r/v1"
TOPICS: Final = (
    "telemetry", "events", "alarms", "commands", "link", "passes", "time", "status",
)  # fmt: skip
#: Assigned at IANA: mqtt and secure-mqtt.
PORTS: Final = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSettings:
    """host, port, tls: the broker.  mission, node: levels of the topic tree.  authority,
    certificate, key: paths, empty: none.  telemetry_qos: 0 or 1.  plain: without TLS, though the
    broker is not on this machine."""

    host: str
    port: int
    tls: bool
    mission: str
    node: str = "ground"
    user: str = ""
    password: str = field(default="", repr=False)
    authority: str = ""
    certificate: str = ""
    key: str = ""
    topics: tuple[str, ...] = TOPICS
    telemetry_qos: int = 0
    plain: bool = False

    def __post_init__(self) -> None:
        for name in ("mission", "node"):
            check_level(name, getattr(self, name))
        unknown = [topic for topic in self.topics if topic not in TOPICS]
        if unknown:
            raise LocalError(f"topics {', '.join(unknown)}: {', '.join(TOPICS)} are")
        if self.telemetry_qos not in (0, 1):
            raise LocalError(f"telemetry_qos {self.telemetry_qos}: 0 or 1 wanted")
        if not self.tls and (self.authority or self.certificate or self.key):
            raise LocalError("certificates are for mqtts:// alone; the address is mqtt://")
        if bool(self.certificate) != bool(self.key):
            raise LocalError("certificate and key: both or none wanted")
        if self.password and not self.user:
            raise LocalError("a password without user")
        if not (self.tls or self.plain or is_loopback_host(self.host)):
            raise LocalError(
                f"mqtt://{self.host}: another machine, and nothing protects what passes: "
                "mqtts:// wanted, or plain = true in the file"
            )

    @property
    def base(self) -> str:
        """What all our topics begin with."""
        return f"{ROOT}/{self.mission}/{self.node}"

    def tls_context(self) -> ssl.SSLContext | None:
        """None without TLS.  LocalError: a certificate cannot be read."""
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.authority or None)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.certificate:
                check_secret(Path(self.key))
                context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            names = " ".join(filter(None, (self.authority, self.certificate, self.key)))
            raise LocalError(f"TLS: {names}: {error}") from error
        return context


def check_level(name: str, value: str) -> None:
    """LocalError unless it can be one level of a topic (MQTT 3.1.1 §4.7)."""
    if not value or not value.isprintable() or set(value) & set("+#/ ") or value.startswith("$"):
        raise LocalError(f"{name} {value!r}: a word without + # / $ or blank wanted, for a topic")


def load_broker_settings(url: str, mission: str, file: str = "") -> BrokerSettings:
    """mission: of the run, a name or the path of a profile.  LocalError names what is wrong, and
    where; it quotes no secret."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise LocalError(f"mqtt {url[:200]!r}: {error}") from None
    if parts.username is not None or parts.password is not None:
        raise LocalError(f"mqtt {parts.scheme}://…@…: user and password belong into mqtt_file")
    try:
        port = parts.port
    except ValueError:
        port = -1
    wrong = parts.path.strip("/") or parts.query or parts.fragment
    if parts.scheme not in PORTS or not parts.hostname or port in (-1, 0) or wrong:
        raise LocalError(f"mqtt {url!r}: mqtt://HOST[:PORT] or mqtts://HOST[:PORT] wanted")
    try:
        return BrokerSettings(
            host=parts.hostname,
            port=port or PORTS[parts.scheme],
            tls=parts.scheme == "mqtts",
            mission=Path(mission).stem,
            **(_read(Path(file)) if file else {}),
        )
    except LocalError as error:
        raise LocalError(f"{file or 'mqtt'}: {error}") from error


#: What the file may say, and of what kind.
_KINDS: Final[dict[str, type]] = {
    one.name: {"str": str, "int": int, "bool": bool}.get(str(one.type), list)
    for one in fields(BrokerSettings)
    if one.name not in ("host", "port", "tls", "mission")
}


def _read(path: Path) -> dict[str, Any]:
    try:
        values = toml_of(path.read_bytes())
        mode = path.stat().st_mode
    except OSError as error:
        raise LocalError(error.strerror or str(error)) from error
    except ValueError:
        # Not what the parser says of it: it might quote the password.
        raise LocalError("this is no TOML") from None
    for name, value in values.items():
        if name not in _KINDS:
            raise LocalError(f"{name} is not a setting; {', '.join(_KINDS)} are")
        if type(value) is not _KINDS[name]:
            raise LocalError(f"{name}: {_KINDS[name].__name__} wanted, not {type(value).__name__}")
    if "password" in values and mode & SECRET_FROM:
        raise LocalError(f"others can read it and it has a password (mode {mode & 0o777:o}); 600")
    for name in ("authority", "certificate", "key"):
        if values.get(name):
            values[name] = str(path.parent / values[name])
    if "topics" in values:
        values["topics"] = tuple(map(str, values["topics"]))
    return values
