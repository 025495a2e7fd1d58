"""Fragmentation (RFC 9171 §5.8) and reassembly of application data units (§5.9)."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from typing import Final

from protocols.dtn.bundle import BlockFlags, Bundle, BundleFlags
from protocols.errors import LocalError, RemoteError

#: Largest application data unit put together unless told otherwise: what one node's store holds
#: of a file in one piece.
LONGEST_ADU: Final = 1 << 30


def fragment(bundle: Bundle, first_length: int) -> tuple[Bundle, Bundle]:
    """Two fragments: the first `first_length` octets of the payload, and the rest.

    Raises LocalError where fragmentation is forbidden, or one part would be empty.
    """
    primary, payload = bundle.primary, bundle.payload
    if primary.flags & BundleFlags.MUST_NOT_FRAGMENT:
        raise LocalError("bundle must not be fragmented (§4.2.3)")
    if not 0 < first_length < len(payload):
        raise LocalError(f"first fragment of {first_length} octets, 1..{len(payload) - 1} wanted")
    offset = primary.fragment_offset or 0
    common = replace(
        primary,
        flags=primary.flags | BundleFlags.IS_FRAGMENT,
        fragment_offset=offset,
        total_length=len(payload) if primary.total_length is None else primary.total_length,
    )
    view = memoryview(payload)
    last = bundle.blocks[-1]
    kept = [block for block in bundle.blocks[:-1] if block.flags & BlockFlags.REPLICATE]
    return (
        Bundle(common, (*bundle.blocks[:-1], replace(last, data=view[:first_length]))),
        Bundle(
            replace(common, fragment_offset=offset + first_length),
            (*kept, replace(last, data=view[first_length:])),
        ),
    )


class Reassembly:
    """Fragments of one application data unit: of one source and creation timestamp.

    Holds the material extents alone, so never more than was received.  octets: held so far.
    """

    def __init__(self, longest: int = LONGEST_ADU) -> None:
        self.longest = longest
        self.octets = 0
        self._total: int | None = None
        self._starts: list[int] = []
        self._extents: list[memoryview] = []
        self._first: Bundle | None = None

    def push(self, bundle: Bundle) -> Bundle | None:
        """Take a fragment; gives the original bundle as soon as its unit is whole.

        Raises RemoteError for what is no fragment, for one outside the unit, another total length
        than before, and a unit longer than `longest`.
        """
        primary = bundle.primary
        offset, total = primary.fragment_offset, primary.total_length
        payload = memoryview(bundle.payload)
        if offset is None or total is None:
            raise RemoteError("bundle is no fragment")
        if total > self.longest:
            raise RemoteError(f"data unit of {total} octets, {self.longest} at most")
        if self._total not in (None, total) or offset + len(payload) > total:
            raise RemoteError(
                f"fragment at {offset} of {len(payload)} octets in {total}, {self._total} before"
            )
        self._total = total
        if offset == 0 and self._first is None:
            self._first = bundle
        self._take(offset, payload)
        if self.octets < total or self._first is None:
            return None
        first = self._first
        whole = replace(
            first.primary,
            flags=first.primary.flags & ~BundleFlags.IS_FRAGMENT,
            fragment_offset=None,
            total_length=None,
        )
        adu = replace(first.blocks[-1], data=b"".join(self._extents))
        return Bundle(whole, (*first.blocks[:-1], adu))

    def _take(self, start: int, payload: memoryview) -> None:
        """Keep those octets that no earlier fragment had."""
        end = start + len(payload)
        at = start
        i = max(bisect_right(self._starts, start) - 1, 0)
        while at < end:
            while i < len(self._starts) and self._starts[i] + len(self._extents[i]) <= at:
                i += 1
            if i < len(self._starts) and self._starts[i] <= at:
                at = self._starts[i] + len(self._extents[i])
                continue
            until = min(end, self._starts[i]) if i < len(self._starts) else end
            self._starts.insert(i, at)
            self._extents.insert(i, payload[at - start : until - start])
            self.octets += until - at
            at = until
