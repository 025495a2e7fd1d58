"""Bundles encoded, decoded with their CRCs checked, and forwarded, beside named peers."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from protocols.coding.crc import crc32c
from protocols.dtn.bundle import (
    Bundle,
    CrcType,
    CreationTimestamp,
    Primary,
    parse_bundle,
    payload_block,
)
from protocols.dtn.bundle_extensions import BUNDLE_AGE, HOP_COUNT, PREVIOUS_NODE, HopCount
from protocols.dtn.bundle_processing import forwarded
from protocols.dtn.eid import eid
from tests.benchmarks.harness import Case, PeerMissing

TIME_MS, SEQUENCE, LIFETIME_MS = 848_689_507_000, 7, 86_400_000


def bundle_of(payload: bytes) -> Bundle:
    primary = Primary(
        flags=0,
        crc_type=CrcType.CRC32C,
        destination=eid("ipn:2.1"),
        source=eid("ipn:1.1"),
        report_to=eid("dtn:none"),
        creation=CreationTimestamp(TIME_MS, SEQUENCE),
        lifetime_ms=LIFETIME_MS,
    )
    return Bundle(primary, (payload_block(payload, crc_type=CrcType.CRC32C),))


def pyd3tn_encoder(payload: bytes, made: bool = False) -> Callable[[], bytes]:
    """Octets of a bundle's objects; `made`: these are ready, as ours are."""
    try:
        from pyd3tn import bundle7
    except ImportError as error:
        raise PeerMissing("pip install pyD3TN") from error

    def make() -> bundle7.Bundle:
        return bundle7.Bundle(
            bundle7.PrimaryBlock(
                crc_type=bundle7.CRCType.CRC32,
                destination="ipn:2.1",
                source="ipn:1.1",
                creation_time=tuple.__new__(bundle7.CreationTimestamp, (TIME_MS, SEQUENCE)),
                lifetime=LIFETIME_MS,
            ),
            bundle7.PayloadBlock(payload, crc_type=bundle7.CRCType.CRC32),
        )

    if made:
        bundle = make()
        return lambda: bytes(bundle)
    return lambda: bytes(make())


def pyd3tn_decoder(octets: bytes) -> Callable[[], bytes]:
    """Its parser, which checks no CRC."""
    try:
        from pyd3tn import bundle7
    except ImportError as error:
        raise PeerMissing("pip install pyD3TN") from error
    return lambda: bundle7.Bundle.parse(octets).payload_block.data


def cbor2_encoder(payload: bytes) -> Callable[[], bytes]:
    """The shortest way with a CBOR library in C and the same CRC."""
    try:
        import cbor2
    except ImportError as error:
        raise PeerMissing("pip install cbor2") from error

    def block(fields: list[object]) -> bytes:
        octets = cbor2.dumps([*fields, bytes(4)])
        return octets[:-4] + struct.pack(">I", crc32c(octets))

    def encode() -> bytes:
        primary: list[object] = [7, 0, 2, [2, [2, 1]], [2, [1, 1]], [1, 0]]
        primary += [[TIME_MS, SEQUENCE], LIFETIME_MS]
        return b"\x9f" + block(primary) + block([1, 1, 0, 2, payload]) + b"\xff"

    return encode


def cbor2_decoder(octets: bytes) -> Callable[[], bytes]:
    """`loads`, then every block encoded again for its CRC: what it takes without positions."""
    try:
        import cbor2
    except ImportError as error:
        raise PeerMissing("pip install cbor2") from error

    def decode() -> bytes:
        blocks = cbor2.loads(octets)
        for block in blocks:
            given = block[-1]
            block[-1] = bytes(4)
            if struct.pack(">I", crc32c(cbor2.dumps(block))) != given:
                raise ValueError("CRC")
        return blocks[-1][4]

    return decode


def same(ours: object, theirs: object) -> bool:
    return ours == theirs


def codec() -> Iterator[Case]:
    rng = np.random.default_rng(9)
    for size, name in ((1_000, "1 kB"), (100_000, "100 kB")):
        payload = rng.bytes(size)
        octets = bundle_of(payload).build()
        small = size == 1_000
        bundle = bundle_of(payload)
        yield Case(
            name=f"bundles of {name} encoded, CRC-32C",
            units=1,
            unit="k/s",
            scale=1e3,
            ours=bundle.build,
            peers={"pyD3TN": lambda payload=payload: pyd3tn_encoder(payload, made=True)},
            equal=same,
            goals={"pyD3TN": 100},
        )
        yield Case(
            name=f"bundles of {name} made and encoded, CRC-32C",
            units=1,
            unit="k/s",
            scale=1e3,
            ours=lambda payload=payload: bundle_of(payload).build(),
            peers={
                "pyD3TN": lambda payload=payload: pyd3tn_encoder(payload),
                "cbor2": lambda payload=payload: cbor2_encoder(payload),
            },
            equal=same,
        )
        yield Case(
            name=f"bundles of {name} decoded, CRC-32C checked",
            units=1,
            unit="k/s",
            scale=1e3,
            ours=lambda octets=octets: parse_bundle(octets).payload,
            peers={
                "pyD3TN": lambda octets=octets: pyd3tn_decoder(octets),
                "cbor2": lambda octets=octets: cbor2_decoder(octets),
            },
            equal=same,
            goals={"pyD3TN": 2} if small else {},
        )


def forwarding() -> Iterator[Case]:
    """Parse, look at where it goes, change the three blocks, give out the pieces."""
    node = eid("ipn:4.0")
    rng = np.random.default_rng(10)
    for size, name in ((1_000, "1 kB"), (100_000, "100 kB")):
        bundle = bundle_of(rng.bytes(size))
        blocks = (
            PREVIOUS_NODE.block(eid("ipn:3.0"), 2),
            BUNDLE_AGE.block(499_000, 3),
            HOP_COUNT.block(HopCount(30, 2), 4),
        )
        octets = replace(bundle, blocks=(*blocks, *bundle.blocks)).build()
        for check in (True, False):

            def forward(octets: bytes = octets, check: bool = check) -> list[bytes | memoryview]:
                received = parse_bundle(octets, check_crc=check)
                assert received.primary.destination.node_number == 2
                return forwarded(received, node, 1234).segments()

            yield Case(
                name=f"bundles of {name} forwarded, CRCs {'checked' if check else 'not checked'}",
                units=1,
                unit="k/s",
                scale=1e3,
                ours=forward,
            )


def cases() -> Iterator[Case]:
    yield from codec()
    yield from forwarding()
