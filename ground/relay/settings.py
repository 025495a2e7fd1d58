"""A bundle node's configuration: one TOML, checked whole before anything is opened.

node = "ipn:5.0"
name = "Yeoju"
store = "bundles"                     # directory, beside this file unless absolute
applications = "tcp://127.0.0.1:4560" # where applications connect
listen = "127.0.0.1:4556"             # TCPCL; left out: nobody can connect
plan = "plan.ionrc"                   # .ionrc (ION) or .json (HDTN)
keys = "keys"                         # `l4 keys`: applications are then authenticated
identity = "node.yeoju"               # the node's name there
metrics = "127.0.0.1:9560"            # /metrics and /healthz, on loopback

[[neighbour]]                         # connected to by TCPCL, and a contact that never ends
node = "ipn:6.0"
connect = "127.0.0.1:4557"
rate_bit_s = 1_000_000_000
limit_bit_s = 500_000_000

[[rule]]                              # the first that applies gives a bundle its class
destination = "ipn:*.77"
priority = "expedited"
critical = true

[quota]
octets = 4_000_000_000
bundles = 1_000_000

[tls]
policy = "require"                    # refuse (default), allow, require
certificate = "node.pem"
key = "node.key"
authority = "agencies.pem"
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ground.documents import toml_of
from ground.keyring import Keyring
from protocols.bus.access import is_key_name, is_loopback_host, role_of
from protocols.dtn.contact_plan import Contact, ContactPlan, Range
from protocols.dtn.contact_plan_formats import read_hdtn, read_ion
from protocols.dtn.eid import Eid, eid
from protocols.dtn.node_settings import PRIORITY_NAMES, NodeSettings, Rule
from protocols.dtn.tcpcl import TlsPolicy
from protocols.errors import LocalError, ProtocolError

Address = tuple[str, int]

_KEYS: Final = {
    "": {
        *("node", "name", "store", "applications", "listen", "plan", "neighbour", "rule", "layers"),
        *("quota", "tls", "reports_per_s", "keepalive_s", "owlt_margin"),
        *("keys", "identity", "metrics"),
    },
    "neighbour": {
        *("node", "name", "layer", "connect", "listen", "rate_bit_s", "limit_bit_s", "owlt_s")
    },
    "layers": {"stcp", "mtcp", "udp"},
    "rule": {"source", "destination", "priority", "critical", "at_most_octets"},
    "quota": {"octets", "bundles", "shares"},
    "tls": {"policy", "certificate", "key", "authority"},
}
LAYERS: Final = ("tcpcl", "stcp", "mtcp", "udp", "ltp")
#: Role of a node that is no site's, and its name where it is the only one.
NODE: Final = "node"
#: Of neighbours on the ground: contacts from before anybody's clock to after all plans.
_ALWAYS: Final = (0, 1 << 62)
_GROUND_BIT_S: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files; authority: whose signature a peer's certificate must bear."""

    policy: TlsPolicy = TlsPolicy.REFUSE
    certificate: Path = Path()
    key: Path = Path()
    authority: Path = Path()


@dataclass(frozen=True, slots=True)
class LtpLink:
    """A neighbour by LTP over UDP: the socket of ours that it speaks to, and its own."""

    neighbour: int
    listen: Address
    connect: Address
    owlt_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySettings:
    """connect: TCPCL addresses that are kept connected.  others: of the layers stcp, mtcp and udp,
    where we listen (None: nowhere) and the neighbours' addresses.  keys: directory, None: there is
    none and applications come from loopback alone; identity: whose keys are ours.  metrics: where
    /metrics and /healthz are, None: nowhere."""

    node: NodeSettings
    name: str
    store: Path
    applications: str
    listen: Address | None
    connect: tuple[Address, ...]
    plan: ContactPlan
    tls: TlsFiles
    keepalive_s: int
    owlt_margin: float
    path: Path
    others: dict[str, tuple[Address | None, dict[int, Address]]] = field(
        default_factory=dict[str, tuple[Address | None, dict[int, Address]]]
    )
    ltp: tuple[LtpLink, ...] = ()
    keys: Path | None = None
    identity: str = NODE
    metrics: Address | None = None

    @property
    def keyring(self) -> Keyring | None:
        """The node's; `ground.keyring.person` finds who asks it."""
        return Keyring(self.keys, self.identity) if self.keys is not None else None


def load_relay_settings(path: Path) -> RelaySettings:
    """Read and check the file and the plan that it names.  LocalError says key, value and wish."""
    try:
        values = toml_of(path.read_bytes())
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise LocalError(f"{path}: {error}") from error
    try:
        return _settings(path, values)
    except ProtocolError as error:
        raise LocalError(f"{path}: {error}") from error


def _checked(table: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    for key in table:
        if key not in _KEYS[kind]:
            place = f"[{kind}] " if kind else ""
            raise LocalError(f"{place}{key} is not a key; {', '.join(sorted(_KEYS[kind]))} are")
    return table


def _value(table: Mapping[str, Any], key: str, kind: type, default: Any = None) -> Any:
    value = table.get(key, default)
    if value is None:
        raise LocalError(f"{key} is missing")
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise LocalError(f"{key} = {value!r}, {kind.__name__} wanted")
    return value


def _address(text: str, key: str) -> Address:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise LocalError(f'{key} = {text!r}, "HOST:PORT" wanted')
    return host.strip("[]"), int(port)


def _metrics(text: str) -> Address:
    address = _address(text, "metrics")
    if not is_loopback_host(address[0]):
        raise LocalError(
            f"metrics = {text!r}: whoever reaches it may read; a loopback address wanted"
        )
    return address


def _identity(text: str) -> str:
    if not is_key_name(text) or role_of(text) != NODE:
        raise LocalError(f'identity = {text!r}, "{NODE}" or "{NODE}.NAME" wanted')
    return text


def _node(text: str) -> Eid:
    found = eid(text)
    if found.node_number is None or found.service_number != 0:
        raise LocalError(f"node = {text!r}, ipn:N.0 wanted")
    return found


def _rule(table: Mapping[str, Any]) -> Rule:
    _checked(table, "rule")
    priority = _value(table, "priority", str, "normal")
    if priority not in PRIORITY_NAMES:
        raise LocalError(f"[rule] priority = {priority!r}; {', '.join(PRIORITY_NAMES)} are known")
    return Rule(
        _value(table, "source", str, "*"),
        _value(table, "destination", str, "*"),
        PRIORITY_NAMES[priority],
        _value(table, "critical", bool, False),
        _value(table, "at_most_octets", int, 1 << 62),
    )


def _settings(path: Path, values: Mapping[str, Any]) -> RelaySettings:
    _checked(values, "")
    here = _node(_value(values, "node", str))
    name = _value(values, "name", str, "")
    neighbours = [_checked(table, "neighbour") for table in values.get("neighbour", [])]
    quota = _checked(values.get("quota", {}), "quota")
    limits: dict[int, float] = {}
    names = {here.node_number or 0: name} if name else {}
    contacts: list[Contact] = []
    ranges: list[Range] = []
    connect: list[Address] = []
    listeners = _checked(values.get("layers", {}), "layers")
    others: dict[str, tuple[Address | None, dict[int, Address]]] = {
        layer: (_address(listeners[layer], layer) if layer in listeners else None, {})
        for layer in ("stcp", "mtcp", "udp")
    }
    ltp: list[LtpLink] = []
    for table in neighbours:
        there = _node(_value(table, "node", str)).node_number or 0
        if "limit_bit_s" in table:
            limits[there] = _value(table, "limit_bit_s", float)
        if "name" in table:
            names[there] = _value(table, "name", str)
        layer = _value(table, "layer", str, "tcpcl")
        if layer not in LAYERS:
            raise LocalError(f"[neighbour] layer = {layer!r}; {', '.join(LAYERS)} are known")
        if layer != "tcpcl" or "connect" in table:
            address = _address(_value(table, "connect", str), "connect")
            if layer == "tcpcl":
                connect.append(address)
            elif layer == "ltp":
                own = _address(_value(table, "listen", str), "listen")
                ltp.append(LtpLink(there, own, address, _value(table, "owlt_s", float, 0.0)))
            else:
                others[layer][1][there] = address
        rate = _value(table, "rate_bit_s", int, _GROUND_BIT_S)
        ours = here.node_number or 0
        contacts += [Contact(*_ALWAYS, ours, there, rate), Contact(*_ALWAYS, there, ours, rate)]
        owlt_ns = round(_value(table, "owlt_s", float, 0.0) * 1e9)
        ranges.append(Range(*_ALWAYS, min(ours, there), max(ours, there), owlt_ns))
    always = ContactPlan(tuple(contacts), tuple(ranges), names)
    plan = _read_plan(path.parent / _value(values, "plan", str)) if "plan" in values else None
    tls = _checked(values.get("tls", {}), "tls")
    policy = _value(tls, "policy", str, "refuse")
    if policy not in set(TlsPolicy):
        raise LocalError(f"[tls] policy = {policy!r}; {', '.join(TlsPolicy)} are known")
    files = {key: path.parent / _value(tls, key, str, "") for key in _KEYS["tls"] - {"policy"}}
    default = NodeSettings(node=here)
    shares = tuple(float(share) for share in quota.get("shares", default.shares))
    if len(shares) != 3:
        raise LocalError(f"[quota] shares = {shares}, three wanted: bulk, normal, expedited")
    return RelaySettings(
        node=NodeSettings(
            node=here,
            quota_octets=_value(quota, "octets", int, default.quota_octets),
            quota_bundles=_value(quota, "bundles", int, default.quota_bundles),
            shares=(shares[0], shares[1], shares[2]),
            rules=tuple(_rule(table) for table in values.get("rule", [])),
            limits_bit_s=limits,
            reports_per_s=_value(values, "reports_per_s", float, default.reports_per_s),
        ),
        name=name,
        store=path.parent / _value(values, "store", str, "bundles"),
        applications=_value(values, "applications", str, "tcp://127.0.0.1:4560"),
        listen=_address(values["listen"], "listen") if "listen" in values else None,
        connect=tuple(connect),
        plan=always if plan is None else plan.merged(always),
        tls=TlsFiles(policy=TlsPolicy(policy), **files),
        keepalive_s=_value(values, "keepalive_s", int, 15),
        owlt_margin=_value(values, "owlt_margin", float, 0.0),
        path=path,
        others={layer: both for layer, both in others.items() if both[0] or both[1]},
        ltp=tuple(ltp),
        keys=path.parent / _value(values, "keys", str) if "keys" in values else None,
        identity=_identity(_value(values, "identity", str, NODE)),
        metrics=_metrics(_value(values, "metrics", str)) if "metrics" in values else None,
    )


def _read_plan(path: Path) -> ContactPlan:
    try:
        text = path.read_text()
    except OSError as error:
        raise LocalError(f"plan {path}: {error.strerror}") from error
    return read_hdtn(text) if path.suffix == ".json" else read_ion(text)
