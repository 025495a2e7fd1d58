"""What the extension blocks of RFC 9171 §4.4 hold: previous node, bundle age, hop count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, TypeVar

from protocols.dtn import cbor
from protocols.dtn.bundle import Block, BlockType, Bundle, CrcType
from protocols.dtn.cbor import UINT, Cbor, array, malformed
from protocols.dtn.eid import EID, Eid

T = TypeVar("T")


class HopCount(NamedTuple):
    """§4.4.3: hops allowed (1 … 255) and hops made."""

    limit: int
    made: int


_HOP_COUNT_ITEMS = array("hop count", UINT, UINT)


def _read_hop_count(data: bytes, at: int) -> tuple[HopCount, int]:
    values, after = _HOP_COUNT_ITEMS.read(data, at)
    hops = HopCount(*values)
    if not 1 <= hops.limit <= 255:
        raise malformed(f"hop limit {hops.limit}, 1..255 wanted", data, at)
    return hops, after


@dataclass(frozen=True, slots=True)
class Extension(Generic[T]):
    """A type of extension block and the layout of its data."""

    block_type: BlockType
    content: Cbor[T]

    def read(self, block: Block) -> T:
        """What the block says.  Raises RemoteError."""
        return self.content.parse(block.data)

    def find(self, bundle: Bundle) -> T | None:
        """What the first block of this type says, None without one.  Raises RemoteError."""
        for block in bundle.of_type(self.block_type):
            return self.read(block)
        return None

    def block(
        self, value: T, number: int, *, flags: int = 0, crc_type: int = CrcType.NONE
    ) -> Block:
        """A block that says it.  Raises LocalError for a value outside its field."""
        return Block(self.block_type, number, flags, crc_type, self.content.write(value))


#: §4.4.1: the node that forwarded the bundle to this one.
PREVIOUS_NODE: Final[Extension[Eid]] = Extension(BlockType.PREVIOUS_NODE, EID)
#: §4.4.2: milliseconds from creation to the last forwarding.
BUNDLE_AGE: Final[Extension[int]] = Extension(BlockType.BUNDLE_AGE, UINT)
HOP_COUNT: Final[Extension[HopCount]] = Extension(
    BlockType.HOP_COUNT, cbor.Cbor("hop count", _read_hop_count, _HOP_COUNT_ITEMS.write)
)
EXTENSIONS: Final = {
    extension.block_type: extension for extension in (PREVIOUS_NODE, BUNDLE_AGE, HOP_COUNT)
}
