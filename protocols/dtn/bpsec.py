"""Security blocks of bundles, RFC 9172: what BIB and BCB hold, and which blocks they may target.

The cryptography is in `bpsec_contexts`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from protocols.dtn.bundle import Block, BlockFlags, BlockType, Bundle, BundleFlags
from protocols.dtn.cbor import ANY, INTEGER, UINT, array, items, list_of, malformed
from protocols.dtn.eid import EID, Eid
from protocols.errors import LocalError, RemoteError

#: Security context flag, §3.6: parameters are present; other bits are ignored.
PARAMETERS_PRESENT: Final = 0x1
_SECURITY_TYPES: Final = (BlockType.INTEGRITY, BlockType.CONFIDENTIALITY)
_LONGEST_TARGETS: Final = 256

#: Identifier and value of a parameter or result, the value as its encoding (§3.10: it is the
#: context's to define).
_IDENTIFIED = array("identifier and value", UINT, ANY)
_PARAMETERS = list_of("security context parameters", _IDENTIFIED)
_RESULTS = list_of("security results", _PARAMETERS)
_BEGINNING = items("security block", list_of("security targets", UINT), INTEGER, UINT, EID)

Identified = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class SecurityBlock:
    """Abstract security block, §3.6: the data of a BIB or BCB.

    parameters: (identifier, encoded value); results: the same, a set for each target, in order.
    """

    targets: tuple[int, ...]
    context: int
    source: Eid
    parameters: tuple[Identified, ...]
    results: tuple[tuple[Identified, ...], ...]

    @classmethod
    def parse(cls, octets: bytes | memoryview) -> SecurityBlock:
        """Raises RemoteError for what breaks §3.6: no or repeated targets, results that are not
        as many among it."""
        data = bytes(octets)
        beginning: tuple[Any, ...]
        beginning, at = _BEGINNING.read(data, 0)
        targets, context, flags, source = beginning
        if not targets or len(set(targets)) < len(targets) or len(targets) > _LONGEST_TARGETS:
            raise malformed(f"security targets {targets[:9]}: some, each once", data, 0)
        parameters: tuple[Any, ...] = ()
        if flags & PARAMETERS_PRESENT:
            parameters, at = _PARAMETERS.read(data, at)
        results: tuple[Any, ...]
        results, end = _RESULTS.read(data, at)
        if len(results) != len(targets):
            raise malformed(f"{len(results)} results for {len(targets)} targets", data, at)
        if end != len(data):
            raise malformed("octets after the security results", data, end)
        return cls(targets, context, source, parameters, results)

    def build(self) -> bytes:
        """Octets of the block's data.  Raises LocalError for a value out of range."""
        flags = PARAMETERS_PRESENT if self.parameters else 0
        octets = _BEGINNING.write((self.targets, self.context, flags, self.source))
        if self.parameters:
            octets += _PARAMETERS.write(self.parameters)
        return octets + _RESULTS.write(self.results)

    def parameter(self, identifier: int) -> bytes | None:
        """Encoded value of a parameter."""
        return dict(self.parameters).get(identifier)

    def without(self, targets: Collection[int]) -> SecurityBlock:
        """Without the operations on these targets."""
        kept = [i for i, target in enumerate(self.targets) if target not in targets]
        return SecurityBlock(
            tuple(self.targets[i] for i in kept),
            self.context,
            self.source,
            self.parameters,
            tuple(self.results[i] for i in kept),
        )


def operations(bundle: Bundle, block_type: int) -> dict[int, int]:
    """Target → number of the BIB (BCB) that has it, by the type asked for; encrypted BIBs, which
    nobody can read, have none.  Raises RemoteError for a target that has two (§3.2)."""
    encrypted: dict[int, int] = {}
    if block_type == BlockType.INTEGRITY:
        encrypted = operations(bundle, BlockType.CONFIDENTIALITY)
    found: dict[int, int] = {}
    for block in bundle.of_type(block_type):
        if block.number in encrypted:
            continue
        for target in SecurityBlock.parse(block.data).targets:
            if target in found:
                raise RemoteError(
                    f"block {target} is target of security blocks {found[target]} and "
                    f"{block.number} (RFC 9172 §3.2)"
                )
            found[target] = block.number
    return found


def check_operations(bundle: Bundle) -> None:
    """Rules of §3.7 and §3.8 on a received bundle's security blocks.  Raises RemoteError."""
    types = {0: 0} | {block.number: block.type for block in bundle.blocks}
    encrypted = operations(bundle, BlockType.CONFIDENTIALITY)
    signed = operations(bundle, BlockType.INTEGRITY)
    for target, number in (*encrypted.items(), *signed.items()):
        if target not in types:
            raise RemoteError(f"security block {number}: no block {target} (RFC 9172 §3.6)")
    for target, number in signed.items():
        if types[target] in _SECURITY_TYPES:
            raise RemoteError(f"BIB {number} has security block {target} as target (§3.7)")
        if target in encrypted:
            raise RemoteError(f"BIB {number} in the clear, its target {target} encrypted (§3.9)")
    for target, number in encrypted.items():
        if target == 0 or types[target] == BlockType.CONFIDENTIALITY:
            raise RemoteError(f"BCB {number} has block {target} as target (§3.8)")
    for block in bundle.of_type(BlockType.CONFIDENTIALITY):
        if block.flags & BlockFlags.DISCARD_IF_UNPROCESSABLE:
            raise RemoteError(f"BCB {block.number} may be discarded if unprocessable (§3.8)")
        if encrypted.get(1) == block.number and not block.flags & BlockFlags.REPLICATE:
            raise RemoteError(f"BCB {block.number} of the payload is not replicated (§3.8)")


def check_new(bundle: Bundle, targets: Collection[int], block_type: int) -> None:
    """Whether these operations may be added.  Raises LocalError with the clause if not."""
    if bundle.primary.flags & BundleFlags.IS_FRAGMENT:
        raise LocalError("no security blocks for a fragment (RFC 9172 §5.2)")
    if not targets or len(set(targets)) < len(targets):
        raise LocalError(f"security targets {list(targets)}: at least one, each once (§3.6)")
    types = {0: 0} | {block.number: block.type for block in bundle.blocks}
    encrypted = operations(bundle, BlockType.CONFIDENTIALITY)
    signed = operations(bundle, BlockType.INTEGRITY)
    for target in targets:
        if target not in types:
            raise LocalError(f"security target {target}: the bundle has {sorted(types)} (§3.6)")
        if target in encrypted:
            raise LocalError(f"block {target} is encrypted already (§3.2, §3.9)")
        if block_type == BlockType.INTEGRITY:
            if target in signed:
                raise LocalError(f"block {target} has a BIB already (§3.2)")
            if types[target] in _SECURITY_TYPES:
                raise LocalError(f"block {target} is a security block, no target of a BIB (§3.7)")
        elif target == 0 or types[target] == BlockType.CONFIDENTIALITY:
            raise LocalError(f"block {target} is no target of a BCB (§3.8)")
    if block_type == BlockType.CONFIDENTIALITY:
        _check_signed_targets(bundle, targets)


def _check_signed_targets(bundle: Bundle, targets: Collection[int]) -> None:
    """§3.8, §3.9: a BIB is encrypted along with all its targets, or not at all.

    A BIB of which only some targets are to be encrypted would have to be split, which changes what
    it signs where its own number is in scope: its source, who has the key, makes two BIBs instead.
    """
    encrypted = operations(bundle, BlockType.CONFIDENTIALITY)
    for block in bundle.of_type(BlockType.INTEGRITY):
        if block.number in encrypted:
            continue
        signed = set(SecurityBlock.parse(block.data).targets)
        common = signed & set(targets)
        if block.number in targets and not common:
            raise LocalError(f"BIB {block.number} shares no target with the BCB (§3.8)")
        if common and block.number not in targets:
            raise LocalError(
                f"BIB {block.number} of {sorted(common)} is to be encrypted too (§3.9)"
            )
        if common and common != signed:
            raise LocalError(
                f"BIB {block.number} has targets {sorted(signed)}, {sorted(common)} are to be "
                "encrypted: sign these apart (§3.9)"
            )


def insert(bundle: Bundle, block: Block) -> Bundle:
    """A security block placed after those that stand at the beginning."""
    at = 0
    while bundle.blocks[at].type in _SECURITY_TYPES:
        at += 1
    return bundle.with_blocks((*bundle.blocks[:at], block, *bundle.blocks[at:]))
