"""What a node does to a bundle by RFC 9171 §5: rules checked, unknown blocks, forwarding, expiry.

Pure: times are arguments, and what is to be reported or deleted is returned, not done.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from protocols.dtn.bpsec import SecurityBlock
from protocols.dtn.bundle import Block, BlockFlags, BlockType, Bundle, BundleFlags, CrcType
from protocols.dtn.bundle_extensions import BUNDLE_AGE, EXTENSIONS, HOP_COUNT, PREVIOUS_NODE
from protocols.dtn.dtn_time import NEVER_NS, tai_ns_from_dtn_ms
from protocols.dtn.eid import Eid
from protocols.errors import RemoteError
from protocols.timecodes.tai import NS_PER_MS

#: Types that this package can process.
PROCESSABLE: Final = frozenset(BlockType)


_UNUSUAL: Final = BundleFlags.ADMINISTRATIVE_RECORD | BundleFlags.REPORTS | BundleFlags.IS_FRAGMENT


def violations(bundle: Bundle) -> list[str]:
    """What the bundle breaks beyond its encoding, each with the clause; empty if nothing.

    A node deletes such a bundle as unintelligible (§5.6 step 3); it may take those of a peer that
    it knows to omit the primary block's CRC.  Blocks that a BCB encrypts are not looked into.
    """
    primary = bundle.primary
    if len(bundle.blocks) == 1 and primary.crc_type and primary.creation.time_ms:
        # What most bundles are: with none of the marks below there is no rule left to break.
        source, flags = primary.source, primary.flags & _UNUSUAL
        if not flags and source.is_plain_ipn and primary.destination.is_plain_ipn:
            return []
    found: list[str] = []
    encrypted: set[int] = set()
    signed: set[int] = set()
    unread = False
    for block in bundle.of_type(BlockType.CONFIDENTIALITY):
        encrypted.update(_targets(block, found))
    for block in bundle.of_type(BlockType.INTEGRITY):
        if block.number in encrypted:
            unread = True
        else:
            signed.update(_targets(block, found))
    if primary.crc_type == CrcType.NONE and 0 not in signed and not unread:
        found.append("primary block without CRC, and no BIB has it as target (§4.3.1)")
    if primary.is_administrative and primary.flags & BundleFlags.REPORTS:
        found.append("administrative record that requests status reports (§4.2.3)")
    if primary.source.is_null:
        if primary.flags & BundleFlags.REPORTS:
            found.append("anonymous bundle that requests status reports (§4.2.3)")
        if not primary.flags & BundleFlags.MUST_NOT_FRAGMENT:
            found.append("anonymous bundle that may be fragmented (§4.2.3)")
    if (primary.is_administrative or primary.source.is_null) and any(
        block.flags & BlockFlags.REPORT_IF_UNPROCESSABLE for block in bundle.blocks
    ):
        found.append("block of an administrative or anonymous bundle requests reports (§4.2.4)")
    if primary.source.is_local_node or primary.destination.is_local_node:
        found.append("LocalNode as source or destination (RFC 9758 §5.4)")
    if not primary.source.is_singleton:
        found.append(f"source {primary.source} is no node (§4.2.5.2)")
    if primary.is_fragment:
        offset, total = primary.fragment_offset or 0, primary.total_length or 0
        if offset + len(bundle.payload) > total and 1 not in encrypted:
            found.append(
                f"fragment at {offset} of {len(bundle.payload)} octets in {total} (§4.3.1)"
            )
    for extension in EXTENSIONS.values():
        blocks = list(bundle.of_type(extension.block_type))
        if len(blocks) > 1:
            found.append(f"{len(blocks)} blocks of type {extension.block_type} (§4.4)")
        for block in blocks:
            if block.number not in encrypted:
                try:
                    extension.read(block)
                except RemoteError as error:
                    found.append(f"block {block.number}: {error} (§4.4)")
    if primary.creation.time_ms == 0 and not any(bundle.of_type(BlockType.BUNDLE_AGE)):
        found.append("creation time 0 without bundle age block (§4.4.2)")
    return found


def _targets(block: Block, found: list[str]) -> tuple[int, ...]:
    try:
        return SecurityBlock.parse(block.data).targets
    except RemoteError as error:
        found.append(f"block {block.number}: {error} (RFC 9172 §3.6)")
        return ()


@dataclass(frozen=True, slots=True)
class Reception:
    """§5.6 step 4.  bundle: without the blocks to discard; report: a reception status report with
    reason "Block unsupported" is requested; delete: the whole bundle, for the same reason."""

    bundle: Bundle
    report: bool
    delete: bool


def receive(bundle: Bundle, processable: Collection[int] = PROCESSABLE) -> Reception:
    """Blocks of types that cannot be processed, treated as their flags say (§5.6 step 4)."""
    unknown = [block for block in bundle.blocks if block.type not in processable]
    report = delete = False
    discard: list[int] = []
    for block in unknown:
        report |= bool(block.flags & BlockFlags.REPORT_IF_UNPROCESSABLE)
        if block.flags & BlockFlags.DELETE_BUNDLE_IF_UNPROCESSABLE:
            # The remaining steps are skipped, later blocks with them.
            return Reception(bundle, report, True)
        if block.flags & BlockFlags.DISCARD_IF_UNPROCESSABLE:
            discard.append(block.number)
    return Reception(bundle.without(*discard) if discard else bundle, report, delete)


def hop_limit_exceeded(bundle: Bundle) -> bool:
    """§4.4.3: more hops made than allowed; such a bundle should be deleted for that reason."""
    hops = HOP_COUNT.find(bundle)
    return hops is not None and hops.made > hops.limit


# As plain integers, since every forwarded bundle passes here.
_PREVIOUS_NODE, _BUNDLE_AGE, _HOP_COUNT = (
    int(kind) for kind in (BlockType.PREVIOUS_NODE, BlockType.BUNDLE_AGE, BlockType.HOP_COUNT)
)


def _with_data(block: Block, data: bytes) -> Block:
    return Block(block.type, block.number, block.flags, block.crc_type, data)


def forwarded(bundle: Bundle, node: Eid | None, residence_ms: int, *, hop: bool = True) -> Bundle:
    """The bundle as it leaves this node (§5.4 step 4); every other block keeps its octets.

    node: ours, for the previous node block; None leaves that block out.
    residence_ms: from reception (creation, at the source) to this moment, and the light time on to
        the next node if its clock is not to be trusted to add it.
    hop: the hop count is one more; not at the source, whose count stays 0.
    Raises RemoteError where such a block cannot be read.
    """
    blocks: list[Block] = []
    if node is not None:
        old = next(bundle.of_type(BlockType.PREVIOUS_NODE), None)
        number = bundle.free_number() if old is None else old.number
        crc_type = CrcType.NONE if old is None else old.crc_type
        blocks.append(PREVIOUS_NODE.block(node, number, crc_type=crc_type))
    for block in bundle.blocks:
        kind = block.type
        if kind == _PREVIOUS_NODE:
            continue
        if kind == _BUNDLE_AGE:
            age_ms = min(BUNDLE_AGE.read(block) + residence_ms, 2**64 - 1)
            block = _with_data(block, BUNDLE_AGE.content.write(age_ms))
        elif kind == _HOP_COUNT and hop:
            hops = HOP_COUNT.read(block)
            block = _with_data(block, HOP_COUNT.content.write(hops._replace(made=hops.made + 1)))
        blocks.append(block)
    return bundle.with_blocks(blocks)


def expiry_ns(bundle: Bundle, received_ns: int, *, clock: bool = True) -> int:
    """Internal time at which the bundle expires (§5.5); `NEVER_NS` where int64 cannot say it.

    received_ns: when it came (was created, at the source).  clock: ours is accurate; without one,
    and for creation time 0, what counts is the bundle age block, or age 0 on reception if the
    bundle has none (which §4.4.2 forbids for creation time 0).
    """
    primary = bundle.primary
    if primary.creation.time_ms and clock:
        return tai_ns_from_dtn_ms(primary.creation.time_ms + primary.lifetime_ms)
    age_ms = BUNDLE_AGE.find(bundle) or 0
    return min(received_ns + (primary.lifetime_ms - age_ms) * NS_PER_MS, NEVER_NS)
