"""BPSec: the examples of RFC 9173 appendix A octet by octet, and the rules of RFC 9172.

Keys, vectors and octets of the examples were compared with the tests of two other implementations
(NASA's HDTN and BSL), which print them from the RFC.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dtn import bpsec
from protocols.dtn.bpsec import SecurityBlock
from protocols.dtn.bpsec_contexts import (
    AesVariant,
    Keys,
    Scope,
    ShaVariant,
    accept_confidentiality,
    accept_integrity,
    add_confidentiality,
    add_integrity,
    integrity_input,
    verify_integrity,
)
from protocols.dtn.bundle import (
    Block,
    BlockFlags,
    BlockType,
    Bundle,
    BundleFlags,
    CrcType,
    CreationTimestamp,
    Primary,
    parse_bundle,
    payload_block,
)
from protocols.dtn.bundle_extensions import BUNDLE_AGE
from protocols.dtn.eid import eid
from protocols.errors import LocalError, RemoteError
from tests.strategies import bundles

PAYLOAD = b"Ready to generate a 32-byte payload"
HMAC_KEY = bytes.fromhex("1a2b" * 8)
AES_KEY = bytes.fromhex("71776572747975696f70617364666768")
KEK = bytes.fromhex("6162636465666768696a6b6c6d6e6f70")
IV = bytes.fromhex("5477656c7665313231323132")
SOURCE = eid("ipn:2.1")

PRIMARY = Primary(
    0, CrcType.NONE, eid("ipn:1.2"), SOURCE, SOURCE, CreationTimestamp(0, 40), 1_000_000
)
ORIGINAL = Bundle(PRIMARY, (payload_block(PAYLOAD, crc_type=CrcType.NONE),))

A1 = bytes.fromhex(
    "9f88070000820282010282028202018202820201820018281a000f4240850b0200"
    "005856810101018202820201828201078203008181820158403bdc69b3a34a2b5d3a"
    "8554368bd1e808f606219d2a10a846eae3886ae4ecc83c4ee550fdfb1cc636b904e2"
    "f1a73e303dcd4b6ccece003e95e8164dcc89a156e185010100005823526561647920"
    "746f2067656e657261746520612033322d62797465207061796c6f6164ff"
)
A2 = bytes.fromhex(
    "9f88070000820282010282028202018202820201820018281a000f4240850c0201"
    "0058508101020182028202018482014c5477656c7665313231323132820201820358"
    "1869c411276fecddc4780df42c8a2af89296fabf34d7fae7008204008181820150ef"
    "a4b5ac0108e3816c5606479801bc04850101000058233a09c1e63fe23a7f66a59c73"
    "03837241e070b02619fc59c5214a22f08cd70795e73e9aff"
)
A3 = bytes.fromhex(
    "9f88070000820282010282028202018202820201820018281a000f4240850b0300"
    "00585c8200020101820282030082820105820300828182015820cac6ce8e4c5dae57"
    "988b757e49a6dd1431dc04763541b2845098265bc817241b81820158203ed614c0d9"
    "7f49b3633627779aa18a338d212bf3c92b97759d9739cd50725596850c0401005834"
    "8101020182028202018382014c5477656c7665313231323132820201820400818182"
    "0150efa4b5ac0108e3816c5606479801bc0485070200004319012c85010100005823"
    "3a09c1e63fe23a7f66a59c7303837241e070b02619fc59c5214a22f08cd70795e73e"
    "9aff"
)
A4 = bytes.fromhex(
    "9f88070000820282010282028202018202820201820018281a000f4240850b0300"
    "005846438ed6208eb1c1ffb94d952175167df0902902064a2983910c4fb2340790bf"
    "420a7d1921d5bf7c4721e02ab87a93ab1e0b75cf62e4948727c8b5dae46ed2af0543"
    "9b88029191850c0201005849820301020182028202018382014c5477656c76653132"
    "313231328202038204078281820150220ffc45c8a901999ecc60991dd78b29818201"
    "50d2c51cb2481792dae8b21d848cede99b8501010000582390eab6457593379298a8"
    "724e16e61f837488e127212b59ac91f8a86287b7d07630a122ff"
)


def test_a1_simple_integrity() -> None:
    made = add_integrity(
        ORIGINAL,
        [1],
        Keys(HMAC_KEY),
        SOURCE,
        variant=ShaVariant.HMAC_512,
        scope=0,
    )
    assert made.build() == A1
    received = parse_bundle(A1)
    assert integrity_input(received, 1, received.blocks[0], 0).hex() == "005823" + PAYLOAD.hex()
    assert verify_integrity(received, 2, Keys(HMAC_KEY)) == {1: True}
    clear, failed = accept_integrity(received, 2, Keys(HMAC_KEY), crc_type=CrcType.NONE)
    assert (clear.build(), failed) == (ORIGINAL.build(), ())


def test_a2_simple_confidentiality_with_key_wrap() -> None:
    made = add_confidentiality(
        ORIGINAL,
        {1: IV},
        Keys(AES_KEY, KEK),
        SOURCE,
        variant=AesVariant.A128GCM,
        scope=0,
    )
    assert made.build() == A2
    clear, lost = accept_confidentiality(
        parse_bundle(A2), 2, Keys(key_encryption_key=KEK), crc_type=CrcType.NONE
    )
    assert (clear.build(), lost) == (ORIGINAL.build(), ())


def test_a3_security_blocks_from_multiple_sources() -> None:
    age = BUNDLE_AGE.block(300, 2)
    original = Bundle(PRIMARY, (age, *ORIGINAL.blocks))
    signed = add_integrity(
        original,
        [0, 2],
        Keys(HMAC_KEY),
        eid("ipn:3.0"),
        variant=ShaVariant.HMAC_256,
        scope=0,
    )
    made = add_confidentiality(
        signed, {1: IV}, Keys(AES_KEY), SOURCE, variant=AesVariant.A128GCM, scope=0
    )
    assert made.build() == A3
    received = parse_bundle(A3)
    assert verify_integrity(received, 3, Keys(HMAC_KEY)) == {0: True, 2: True}
    clear, _ = accept_confidentiality(received, 4, Keys(AES_KEY), crc_type=CrcType.NONE)
    clear, _ = accept_integrity(clear, 3, Keys(HMAC_KEY), crc_type=CrcType.NONE)
    assert clear.build() == original.build()


def test_a4_security_blocks_with_full_scope() -> None:
    signed = add_integrity(ORIGINAL, [1], Keys(HMAC_KEY), SOURCE, number=3)
    made = add_confidentiality(signed, {3: IV, 1: IV}, Keys(AES_KEY * 2), SOURCE, number=2)
    assert made.build() == A4
    received = parse_bundle(A4)
    bpsec.check_operations(received)
    with pytest.raises(RemoteError, match="encrypted"):
        verify_integrity(received, 3, Keys(HMAC_KEY))
    clear, _ = accept_confidentiality(received, 2, Keys(AES_KEY * 2), crc_type=CrcType.NONE)
    assert clear.build() == signed.build()
    assert verify_integrity(clear, 3, Keys(HMAC_KEY)) == {1: True}


@pytest.mark.parametrize("example", [A1, A3])
def test_a_changed_octet_fails_its_target_alone(example: bytes) -> None:
    received = parse_bundle(example)
    number = next(received.of_type(BlockType.INTEGRITY)).number
    targets = SecurityBlock.parse(received.blocks[0].data).targets
    for target in targets:
        if target == 0:
            changed = replace(received, primary=replace(received.primary, lifetime_ms=7))
        else:
            block = received.block(target)
            assert block is not None
            changed = received.replacing(replace(block, data=b"\x07"))
        verdict = verify_integrity(changed, number, Keys(HMAC_KEY))
        assert verdict == {other: other != target for other in targets}
        left, failed = accept_integrity(changed, number, Keys(HMAC_KEY))
        assert failed == (target,)
        assert SecurityBlock.parse(left.blocks[0].data).targets == failed


def test_a_payload_that_does_not_authenticate_is_refused() -> None:
    for wrong in (Keys(AES_KEY[::-1]), Keys(b"k" * 16)):
        with pytest.raises(RemoteError, match="authenticate"):
            accept_confidentiality(parse_bundle(A2), 2, wrong)
    with pytest.raises(RemoteError, match="wrapped key"):
        accept_confidentiality(parse_bundle(A2), 2, Keys(key_encryption_key=KEK[::-1]))
    changed = parse_bundle(A4)
    changed = replace(changed, primary=replace(changed.primary, lifetime_ms=7))
    with pytest.raises(RemoteError, match="authenticate"):
        accept_confidentiality(changed, 2, Keys(AES_KEY * 2))


def test_a_lost_block_goes_with_its_operations() -> None:
    age = BUNDLE_AGE.block(300, 2)
    original = Bundle(PRIMARY, (age, *ORIGINAL.blocks))
    made = add_confidentiality(original, {2: IV, 1: IV[::-1]}, Keys(AES_KEY * 2), SOURCE)
    assert [block.type for block in made.blocks] == [12, 12, 7, 1]
    damaged = made.block(2)
    assert damaged is not None
    made = made.replacing(replace(damaged, data=bytes(3)))
    first = made.blocks[0].number
    clear, lost = accept_confidentiality(made, first, Keys(AES_KEY * 2))
    assert lost == (2,)
    assert [block.type for block in clear.blocks] == [12, 1]
    clear, _ = accept_confidentiality(clear, clear.blocks[0].number, Keys(AES_KEY * 2))
    assert clear.payload == PAYLOAD


def test_a_tag_behind_the_ciphertext() -> None:
    """RFC 9173 §4.4 lets a peer put it there instead of into the results."""
    received = parse_bundle(A2)
    bcb, payload = received.blocks
    security = SecurityBlock.parse(bcb.data)
    tag = security.results[0][0][1][1:]
    moved = received.replacing(
        replace(bcb, data=replace(security, results=((),)).build()),
        replace(payload, data=bytes(payload.data) + tag),
    )
    clear, _ = accept_confidentiality(
        parse_bundle(moved.build()), 2, Keys(AES_KEY), crc_type=CrcType.NONE
    )
    assert clear.build() == ORIGINAL.build()


@given(bundles(), st.integers(0, 7), st.sampled_from(ShaVariant), st.binary(min_size=1), st.data())
def test_integrity_round_trip(
    bundle: Bundle, scope: int, variant: ShaVariant, key: bytes, data: st.DataObject
) -> None:
    if bundle.primary.is_fragment:
        return
    numbers = [0, *(block.number for block in bundle.blocks)]
    targets = data.draw(st.lists(st.sampled_from(numbers), min_size=1, unique=True))
    signed = add_integrity(bundle, targets, Keys(key), SOURCE, variant=variant, scope=scope)
    received = parse_bundle(signed.build())
    bpsec.check_operations(received)
    bib = next(received.of_type(BlockType.INTEGRITY)).number
    assert verify_integrity(received, bib, Keys(key)) == dict.fromkeys(targets, True)
    assert not any(verify_integrity(received, bib, Keys(key + b"!")).values())
    clear, failed = accept_integrity(received, bib, Keys(key))
    assert not failed
    for target in targets:
        block = clear.primary if target == 0 else clear.block(target)
        assert block is not None
        assert block.crc_type == CrcType.CRC32C
    parse_bundle(clear.build())


@given(
    bundles(), st.integers(0, 7), st.sampled_from(AesVariant), st.binary(min_size=8, max_size=16)
)
def test_confidentiality_round_trip(
    bundle: Bundle, scope: int, variant: AesVariant, iv: bytes
) -> None:
    if bundle.primary.is_fragment:
        return
    keys = Keys(bytes(range(16 if variant == 1 else 32)))
    ivs = {block.number: bytes([i]) + iv[1:] for i, block in enumerate(bundle.blocks)}
    sealed = add_confidentiality(bundle, ivs, keys, SOURCE, variant=variant, scope=scope)
    received = parse_bundle(sealed.build())
    bpsec.check_operations(received)
    for bcb in list(received.of_type(BlockType.CONFIDENTIALITY)):
        received, lost = accept_confidentiality(received, bcb.number, keys)
        assert not lost
    assert [b.data for b in received.blocks] == [b.data for b in bundle.blocks]


@given(st.binary(max_size=120))
def test_arbitrary_octets_raise_only_remote_errors(octets: bytes) -> None:
    try:
        security = SecurityBlock.parse(octets)
    except RemoteError:
        return
    assert SecurityBlock.parse(security.build()) == security


@pytest.mark.parametrize("example", [A1, A2, A3, A4])
def test_truncated_and_damaged_security_blocks(example: bytes) -> None:
    received = parse_bundle(example)
    for block in received.blocks[:-1]:
        if block.type not in (11, 12):
            continue
        data = bytes(block.data)
        for i in range(len(data)):
            for damaged in (data[:i], data[:i] + bytes([data[i] ^ 0x55]) + data[i + 1 :]):
                changed = received.replacing(replace(block, data=damaged))
                with contextlib.suppress(RemoteError):
                    bpsec.check_operations(changed)
                with contextlib.suppress(RemoteError):
                    if block.type == BlockType.INTEGRITY:
                        verify_integrity(changed, block.number, Keys(HMAC_KEY, KEK))
                    else:
                        accept_confidentiality(changed, block.number, Keys(AES_KEY, KEK))


def broken(*blocks: Block, primary: Primary = PRIMARY) -> Bundle:
    return Bundle(primary, (*blocks, *ORIGINAL.blocks))


def test_forbidden_operations_are_refused() -> None:
    signed = add_integrity(ORIGINAL, [1], Keys(HMAC_KEY), SOURCE)
    with pytest.raises(LocalError, match="has a BIB already"):
        add_integrity(signed, [1], Keys(HMAC_KEY), SOURCE)
    with pytest.raises(LocalError, match="no target of a BIB"):
        add_integrity(signed, [2], Keys(HMAC_KEY), SOURCE)
    with pytest.raises(LocalError, match="encrypted too"):
        add_confidentiality(signed, {1: IV}, Keys(AES_KEY * 2), SOURCE)
    both = add_integrity(broken(BUNDLE_AGE.block(1, 2)), [1, 2], Keys(HMAC_KEY), SOURCE)
    with pytest.raises(LocalError, match="sign these apart"):
        add_confidentiality(both, {1: IV, 3: IV[::-1]}, Keys(AES_KEY * 2), SOURCE)
    with pytest.raises(LocalError, match="shares no target"):
        add_confidentiality(signed, {2: IV}, Keys(AES_KEY * 2), SOURCE)
    with pytest.raises(LocalError, match="no target of a BCB"):
        add_confidentiality(ORIGINAL, {0: IV}, Keys(AES_KEY * 2), SOURCE)
    sealed = add_confidentiality(ORIGINAL, {1: IV}, Keys(AES_KEY * 2), SOURCE)
    with pytest.raises(LocalError, match="encrypted already"):
        add_integrity(sealed, [1], Keys(HMAC_KEY), SOURCE)
    with pytest.raises(LocalError, match="no target of a BCB"):
        add_confidentiality(sealed, {2: IV}, Keys(AES_KEY * 2), SOURCE)
    fragment = replace(PRIMARY, flags=BundleFlags.IS_FRAGMENT, fragment_offset=0, total_length=99)
    with pytest.raises(LocalError, match="fragment"):
        add_integrity(broken(primary=fragment), [1], Keys(HMAC_KEY), SOURCE)
    with pytest.raises(LocalError, match="key of 32"):
        add_confidentiality(ORIGINAL, {1: IV}, Keys(AES_KEY), SOURCE)
    with pytest.raises(LocalError, match="wanted"):
        add_confidentiality(ORIGINAL, {1: b"short"}, Keys(AES_KEY * 2), SOURCE)


def test_forbidden_operations_of_a_peer_are_found() -> None:
    def bcb(*targets: int, number: int = 2, flags: int = BlockFlags.REPLICATE) -> Block:
        data = SecurityBlock(targets, 2, SOURCE, (), ((),) * len(targets)).build()
        return Block(BlockType.CONFIDENTIALITY, number, flags, 0, data)

    def bib(*targets: int, number: int = 3) -> Block:
        data = SecurityBlock(targets, 1, SOURCE, (), ((),) * len(targets)).build()
        return Block(BlockType.INTEGRITY, number, 0, 0, data)

    for blocks, clause in (
        ((bcb(0),), "3.8"),
        ((bcb(1), bcb(2, number=4)), "3.8"),
        ((bcb(1), bcb(1, number=4)), "3.2"),
        ((bcb(1, flags=0),), "3.8"),
        ((bcb(1, flags=BlockFlags.REPLICATE | BlockFlags.DISCARD_IF_UNPROCESSABLE),), "3.8"),
        ((bib(9),), "3.6"),
        ((bib(1), bib(1, number=4)), "3.2"),
        ((bib(4), bib(1, number=4)), "3.7"),
        ((bcb(1), bib(1)), "3.9"),
    ):
        with pytest.raises(RemoteError, match=clause):
            bpsec.check_operations(broken(*blocks))


def test_scope_is_what_it_says() -> None:
    """Each scope flag protects its part, and its part alone."""
    for flag in (Scope.PRIMARY_BLOCK, Scope.TARGET_HEADER, Scope.SECURITY_HEADER):
        signed = add_integrity(ORIGINAL, [1], Keys(HMAC_KEY), SOURCE, scope=flag)
        bib, payload = signed.blocks
        changes = {
            Scope.PRIMARY_BLOCK: replace(signed, primary=replace(PRIMARY, lifetime_ms=7)),
            Scope.TARGET_HEADER: signed.replacing(replace(payload, flags=1)),
            Scope.SECURITY_HEADER: signed.replacing(replace(bib, flags=1)),
        }
        for part, changed in changes.items():
            assert verify_integrity(changed, 2, Keys(HMAC_KEY)) == {1: part != flag}
        # Unassigned flags are 0 in the canonical form (RFC 9172 §4).
        reserved = signed.replacing(replace(payload, flags=0x80))
        assert verify_integrity(reserved, 2, Keys(HMAC_KEY)) == {1: True}
