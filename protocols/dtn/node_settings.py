"""What an operator sets of a bundle node, and the plain values that cross its border."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import translate
from typing import Final, Protocol

from protocols.dtn.eid import Eid
from protocols.dtn.routing import BULK, EXPEDITED, NORMAL
from protocols.errors import LocalError

PRIORITY_NAMES: Final = {"bulk": BULK, "normal": NORMAL, "expedited": EXPEDITED}


@dataclass(frozen=True, slots=True)
class Rule:
    """Which bundles have a priority, by their endpoints: `*` stands for anything.

    BPv7 carries no class of service (decision 0009), so each node derives it.  critical: sent on
    every open path at once, ahead of all others.  at_most_octets: of larger bundles the rule does
    not speak.

    >>> from protocols.dtn.eid import eid
    >>> alert = Rule(destination="ipn:*.77", priority=EXPEDITED, critical=True)
    >>> alert.applies(eid("ipn:2.1"), eid("ipn:9.77"), 800)
    True
    """

    source: str = "*"
    destination: str = "*"
    priority: int = NORMAL
    critical: bool = False
    at_most_octets: int = 1 << 62
    _source: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _destination: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.priority not in PRIORITY_NAMES.values():
            raise LocalError(f"rule's priority {self.priority}: 0 (bulk), 1 or 2 (expedited)")
        object.__setattr__(self, "_source", re.compile(translate(self.source)))
        object.__setattr__(self, "_destination", re.compile(translate(self.destination)))

    def applies(self, source: Eid, destination: Eid, octets: int) -> bool:
        """Whether the rule speaks of such a bundle."""
        return (
            octets <= self.at_most_octets
            and self._source.match(str(source)) is not None
            and self._destination.match(str(destination)) is not None
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """All of it may be changed while the node runs (`Node.configure`), its own name aside.

    node: its administrative endpoint, `ipn:N.0`.  quota_octets, quota_bundles: what it holds at
    most.  shares: how much of either bulk, normal and expedited bundles may fill: what is urgent
    finds room when the rest has none.  limits_bit_s: by neighbour's number, below the contact's own
    rate.  reports_per_s: status reports at most, since a stranger decides how many are asked for.
    remembered: bundles whose identifiers are kept after they are gone, so that one that comes again
    is known.  longest_adu: octets of a data unit put together from fragments.  retry_s: how often a
    bundle without a route is looked at again when no plan has come.
    """

    node: Eid
    quota_octets: int = 4 << 30
    quota_bundles: int = 1_000_000
    shares: tuple[float, float, float] = (0.8, 0.95, 1.0)
    rules: tuple[Rule, ...] = ()
    limits_bit_s: dict[int, float] = field(default_factory=dict[int, float])
    reports_per_s: float = 10.0
    remembered: int = 1_000_000
    longest_adu: int = 1 << 30
    retry_s: float = 60.0

    def __post_init__(self) -> None:
        if self.node.node_number is None or self.node.service_number != 0:
            raise LocalError(f"node {self.node}: ipn:N.0 wanted")
        if self.quota_octets <= 0 or self.quota_bundles <= 0:
            raise LocalError(
                f"quota of {self.quota_octets} octets, {self.quota_bundles} bundles; above 0 wanted"
            )
        if len(self.shares) != 3 or not all(0 < share <= 1 for share in self.shares):
            raise LocalError(f"shares {self.shares}: three above 0, at most 1, wanted")
        for number, limit in self.limits_bit_s.items():
            if limit <= 0:
                raise LocalError(f"limit of {limit} bit/s for neighbour {number}; above 0 wanted")

    def classify(self, source: Eid, destination: Eid, octets: int) -> tuple[int, bool]:
        """(priority, critical) by the first rule that applies; normal without one."""
        for rule in self.rules:
            if rule.applies(source, destination, octets):
                return rule.priority, rule.critical
        return NORMAL, False


class Verdict(StrEnum):
    """What became of a bundle that was offered."""

    STORED = "stored"
    #: Held, forwarded or delivered before; whoever sent it may forget it.
    DUPLICATE = "duplicate"
    #: No room: whoever sent it keeps it.
    REFUSED = "refused"
    #: Taken and thrown away, as the RFC says (unintelligible, expired, a block that forbids it).
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Stored:
    """A bundle as its store keeps it.

    ref: its number in the store, never used again.  received_ns: TAI.  came_from: number of the
    node that sent it, 0 for an application here.
    """

    ref: int
    received_ns: int
    came_from: int
    octets: bytes


@dataclass(frozen=True, slots=True)
class Seen:
    """A bundle that is gone but remembered: digest of its identifier, until when."""

    digest: bytes
    until_ns: int


class BundleStore(Protocol):
    """Where a node keeps its bundles.  What is put or removed may be durable later than the call
    returns; the node's owner acknowledges nothing to others before it is."""

    def put(self, bundle: Stored) -> None: ...

    def get(self, ref: int) -> bytes: ...

    def remove(self, ref: int, seen: Seen | None) -> None: ...


class MemoryStore:
    """A `BundleStore` in memory: aboard the simulated spacecraft, and in tests."""

    def __init__(self, bundles: Iterable[Stored] = ()) -> None:
        self.bundles = {bundle.ref: bundle for bundle in bundles}
        self.seen: list[Seen] = []

    def put(self, bundle: Stored) -> None:
        """Keep it."""
        self.bundles[bundle.ref] = bundle

    def get(self, ref: int) -> bytes:
        """Octets of a bundle held."""
        return self.bundles[ref].octets

    def remove(self, ref: int, seen: Seen | None) -> None:
        """Forget it, but for its identifier."""
        del self.bundles[ref]
        if seen is not None:
            self.seen.append(seen)
