"""Several carriers of one spacecraft over one link: a chain each, one output.

A carrier beside the first is a stream of its own whose name ends in `/NAME`; its profile is a
mission that the first one's names (`link.carriers`) and that says NAME itself (`link.carrier`).
Chunks are decoded in the order of the capture, so that what comes out depends on it alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby
from typing import Any

from ground.receive.capture import CapturedChunk
from ground.receive.chain import ReceiveChain
from ground.receive.output import ChainOutput, ChainStatistics, nothing
from ground.receive.profile import LinkProfile, load_profile
from ground.receive.sample_chain import Chain
from protocols.errors import LocalError


def other_carriers(profile: LinkProfile) -> dict[str, LinkProfile]:
    """Profiles of the carriers beside the first, by name.  LocalError for one without a name, or
    two of one name."""
    found: dict[str, LinkProfile] = {}
    for mission in profile.carriers:
        other = load_profile(mission)
        if not other.carrier or other.carrier in found or other.carriers:
            raise LocalError(
                f"link profile {profile.name!r}: link.carriers names {mission!r}, whose "
                f"link.carrier is {other.carrier!r}; a name of its own wanted, and no carriers"
            )
        found[other.carrier] = other
    return found


def carrier_of(stream: str, others: Collection[str]) -> str:
    """Which of the carriers beside the first a stream is; empty: the first."""
    name = stream.rpartition("/")[2] if "/" in stream else ""
    return name if name in others else ""


class CarrierChains:
    """first: the first carrier's, others: profiles by name.  Without these it is its one chain."""

    def __init__(self, first: Chain, others: dict[str, LinkProfile]) -> None:
        self.first = first
        self._others = {name: ReceiveChain(one) for name, one in others.items()}
        self._last_ert_ns: dict[str, int] = {}

    def push(self, captured: Sequence[CapturedChunk]) -> ChainOutput:
        """Chunks in the order of the capture."""
        parts: list[ChainOutput] = []
        for name, run in groupby(captured, lambda c: carrier_of(c.chunk.stream, self._others)):
            chunks = [(one.chunk.octets, one.chunk.ert_ns) for one in run]
            if name:
                self._last_ert_ns[name] = chunks[-1][1]
            parts.append(self._others.get(name, self.first).push_chunks(chunks))
        return ChainOutput.join(parts) if parts else nothing()

    def statistics(self) -> ChainStatistics:
        """The first carrier's, and of each other of which anything came a stage `carrier NAME`."""
        found = self.first.statistics()
        counts = dict(found.counts)
        for name, last_ns in self._last_ert_ns.items():
            other = self._others[name].statistics()
            coding, channels = other.counts.get("coding", {}), other.virtual_channels.values()
            counts[f"carrier {name}"] = {
                "octets": other.counts["input"]["octets"],
                "good": other.counts["frames"]["good"],
                "missing": sum(one["missing"] for one in channels),
                "uncorrectable": other.counts["frames"]["uncorrectable"],
                "corrected_symbols": coding.get("corrected_symbols", 0),
                "packets": other.counts["packets"]["packets"],
                "last_ert_ns": last_ns,
            }
        return ChainStatistics(counts, found.virtual_channels)

    def snapshot(self) -> dict[str, Any]:
        return {
            "first": self.first.snapshot(),
            "others": {name: chain.snapshot() for name, chain in self._others.items()},
            "last_ert_ns": dict(self._last_ert_ns),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """LocalError if the snapshot is of other carriers, or does not fit one of them."""
        if set(state["others"]) != set(self._others):
            raise LocalError(
                f"the snapshot is of carriers {sorted(state['others'])}, not {sorted(self._others)}"
            )
        self.first.restore(state["first"])
        for name, one in state["others"].items():
            self._others[name].restore(one)
        self._last_ert_ns = dict(state["last_ert_ns"])
