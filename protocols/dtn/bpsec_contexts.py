"""The default security contexts, RFC 9173: BIB-HMAC-SHA2 and BCB-AES-GCM.

Adding, verifying without a change, and accepting, which removes the operation (RFC 9172 §5.1).
Keys and initialisation vectors come from the caller: this is pure, and has no source of either.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap,
    aes_key_wrap,
)

from protocols.dtn import bpsec
from protocols.dtn.bpsec import SecurityBlock, check_new, operations
from protocols.dtn.bundle import PAYLOAD_NUMBER, Block, BlockFlags, BlockType, Bundle, CrcType
from protocols.dtn.cbor import OCTETS, UINT, write_octets, write_unsigned
from protocols.dtn.eid import Eid
from protocols.errors import LocalError, RemoteError

BIB_HMAC_SHA2: Final = 1
BCB_AES_GCM: Final = 2


class Scope:
    """What else is protected, §3.3.3 and §4.3.4: bits of an integer."""

    PRIMARY_BLOCK: Final = 0x1
    TARGET_HEADER: Final = 0x2
    SECURITY_HEADER: Final = 0x4
    ALL: Final = 0x7


class ShaVariant(IntEnum):
    """§3.3.1."""

    HMAC_256 = 5
    HMAC_384 = 6
    HMAC_512 = 7


class AesVariant(IntEnum):
    """§4.3.2; there is no 2."""

    A128GCM = 1
    A256GCM = 3


_DIGESTS: Final = {5: "sha256", 6: "sha384", 7: "sha512"}
_KEY_OCTETS: Final = {1: 16, 3: 32}
#: Parameter identifiers: they differ between the contexts (§3.3.4, §4.3.5).
_SHA_VARIANT, _BIB_WRAPPED_KEY, _BIB_SCOPE = 1, 2, 3
_IV, _AES_VARIANT, _BCB_WRAPPED_KEY, _BCB_SCOPE = 1, 2, 3, 4
#: Result identifier of both: HMAC (§3.4), authentication tag (§4.4).
_RESULT: Final = 1
_TAG_OCTETS: Final = 16


@dataclass(frozen=True, slots=True)
class Keys:
    """What opens a security block: the key itself, or the one that its wrapped key is under."""

    key: bytes | None = None
    key_encryption_key: bytes | None = None

    def of(self, security: SecurityBlock, wrapped_key: int) -> bytes:
        """The key of a block.  Raises RemoteError if unwrapping fails, LocalError without a key."""
        wrapped = security.parameter(wrapped_key)
        if wrapped is not None and self.key_encryption_key is not None:
            try:
                return aes_key_unwrap(self.key_encryption_key, OCTETS.parse(wrapped))
            except (InvalidUnwrap, ValueError) as error:
                raise RemoteError(f"wrapped key: {error or 'wrong'}", data=wrapped) from error
        if self.key is None:
            raise LocalError(f"no key for the security block from {security.source}")
        return self.key


def _header(block: Block) -> bytes:
    """Type, number, flags; unassigned flags as 0 (RFC 9172 §4)."""
    return (
        write_unsigned(block.type)
        + write_unsigned(block.number)
        + write_unsigned(block.flags & BlockFlags.ASSIGNED)
    )


def _target(bundle: Bundle, number: int) -> Block:
    block = bundle.block(number)
    if block is None:
        raise RemoteError(f"security target {number} is not in the bundle")
    return block


def integrity_input(bundle: Bundle, target: int, security: Block, scope: int) -> bytes:
    """Integrity-protected plaintext, §3.7: what the keyed hash of a target is taken over."""
    octets = write_unsigned(scope & Scope.ALL)
    if target and scope & Scope.PRIMARY_BLOCK:
        octets += bundle.primary.encode()
    if target and scope & Scope.TARGET_HEADER:
        octets += _header(_target(bundle, target))
    if scope & Scope.SECURITY_HEADER:
        octets += _header(security)
    # The primary block as target stands in a byte string, as example A.3 shows.
    return octets + write_octets(
        _target(bundle, target).data if target else bundle.primary.encode()
    )


def authenticated_data(bundle: Bundle, target: int, security: Block, scope: int) -> bytes:
    """Additional authenticated data of a target, §4.7.2 (whose "BIB" in step 4 is the BCB: A.4)."""
    octets = write_unsigned(scope & Scope.ALL)
    if scope & Scope.PRIMARY_BLOCK:
        octets += bundle.primary.encode()
    if scope & Scope.TARGET_HEADER:
        octets += _header(_target(bundle, target))
    if scope & Scope.SECURITY_HEADER:
        octets += _header(security)
    return octets


def _without_crcs(bundle: Bundle, targets: Collection[int]) -> Bundle:
    """§3.8.1, §4.8.1: targets lose their CRC."""
    primary = bundle.primary
    if 0 in targets and primary.crc_type:
        primary = replace(primary, crc_type=int(CrcType.NONE))
    changed = (
        replace(block, crc_type=int(CrcType.NONE))
        if block.number in targets and block.crc_type
        else block
        for block in bundle.blocks
    )
    return Bundle(primary, tuple(changed))


def _with_crcs(bundle: Bundle, targets: Collection[int], crc_type: int) -> Bundle:
    """§3.8.2, §4.8.2: what no operation protects any more gets a CRC again."""
    if not crc_type:
        return bundle
    primary = bundle.primary
    if 0 in targets and not primary.crc_type:
        primary = replace(primary, crc_type=crc_type)
    still = operations(bundle, BlockType.INTEGRITY) | operations(bundle, BlockType.CONFIDENTIALITY)
    changed = (
        replace(block, crc_type=crc_type)
        if block.number in targets and block.number not in still and not block.crc_type
        else block
        for block in bundle.blocks
    )
    return Bundle(primary, tuple(changed))


def _wrapped(keys: Keys, identifier: int) -> list[tuple[int, bytes]]:
    if keys.key_encryption_key is None or keys.key is None:
        return []
    return [(identifier, write_octets(aes_key_wrap(keys.key_encryption_key, keys.key)))]


def _number(security: SecurityBlock, identifier: int, default: int) -> int:
    value = security.parameter(identifier)
    return default if value is None else UINT.parse(value)


def _security(bundle: Bundle, number: int, block_type: int, context: int) -> SecurityBlock:
    block = bundle.block(number)
    if block is None or block.type != block_type:
        raise LocalError(f"block {number} is no security block of type {block_type}")
    security = SecurityBlock.parse(block.data)
    if security.context != context:
        raise RemoteError(f"security context {security.context} in block {number}, {context} known")
    return security


def add_integrity(
    bundle: Bundle,
    targets: Collection[int],
    keys: Keys,
    source: Eid,
    *,
    variant: ShaVariant = ShaVariant.HMAC_384,
    scope: int = Scope.ALL,
    number: int | None = None,
    flags: int = 0,
) -> Bundle:
    """The bundle with a BIB over these blocks (0: the primary block), whose CRCs go (§3.8.1).

    keys: with both, the key is wrapped into the block.  number: of the BIB, the lowest free one if
    not given.  Raises LocalError for targets that RFC 9172 §3.7 and §3.9 forbid.
    """
    check_new(bundle, targets, BlockType.INTEGRITY)
    if keys.key is None:
        raise LocalError("no key to sign with")
    bundle = _without_crcs(bundle, targets)
    parameters = [(_SHA_VARIANT, write_unsigned(variant))]
    parameters += _wrapped(keys, _BIB_WRAPPED_KEY)
    parameters.append((_BIB_SCOPE, write_unsigned(scope & Scope.ALL)))
    number = bundle.free_number() if number is None else number
    block = Block(BlockType.INTEGRITY, number, flags, CrcType.NONE, b"")
    results = tuple(
        ((_RESULT, write_octets(_hmac(bundle, target, block, scope, keys.key, variant))),)
        for target in targets
    )
    security = SecurityBlock(tuple(targets), BIB_HMAC_SHA2, source, tuple(parameters), results)
    return bpsec.insert(bundle, replace(block, data=security.build()))


def _hmac(bundle: Bundle, target: int, block: Block, scope: int, key: bytes, variant: int) -> bytes:
    if variant not in _DIGESTS:
        raise RemoteError(f"SHA variant {variant}, 5, 6 or 7 wanted (RFC 9173 §3.3.1)")
    return hmac.digest(key, integrity_input(bundle, target, block, scope), _DIGESTS[variant])


def verify_integrity(bundle: Bundle, number: int, keys: Keys) -> dict[int, bool]:
    """Each target of a BIB, and whether it is what was signed; nothing is changed.

    Raises RemoteError for a BIB that cannot be processed: of another context, or one that is
    encrypted or has an encrypted target, which must not be checked (RFC 9172 §3.9).
    """
    encrypted = operations(bundle, BlockType.CONFIDENTIALITY)
    if number in encrypted:
        raise RemoteError(f"BIB {number} is encrypted by BCB {encrypted[number]} (§3.9)")
    security = _security(bundle, number, BlockType.INTEGRITY, BIB_HMAC_SHA2)
    if hidden := encrypted.keys() & set(security.targets):
        raise RemoteError(f"targets {sorted(hidden)} of BIB {number} are encrypted (§3.9)")
    key = keys.of(security, _BIB_WRAPPED_KEY)
    variant = _number(security, _SHA_VARIANT, ShaVariant.HMAC_384)
    scope = _number(security, _BIB_SCOPE, Scope.ALL)
    block = _target(bundle, number)
    verdict: dict[int, bool] = {}
    for target, results in zip(security.targets, security.results, strict=True):
        given = dict(results).get(_RESULT)
        if given is None:
            raise RemoteError(f"BIB {number} has no HMAC for block {target} (RFC 9173 §3.4)")
        computed = _hmac(bundle, target, block, scope, key, variant)
        verdict[target] = hmac.compare_digest(OCTETS.parse(given), computed)
    return verdict


def accept_integrity(
    bundle: Bundle, number: int, keys: Keys, *, crc_type: int = CrcType.CRC32C
) -> tuple[Bundle, tuple[int, ...]]:
    """The bundle without the operations of a BIB that verify, and the targets that do not.

    crc_type: what accepted targets get again (§3.8.2); NONE at the bundle's destination.
    """
    verdict = verify_integrity(bundle, number, keys)
    passed = {target for target, right in verdict.items() if right}
    bundle = _without_operations(bundle, number, passed)
    failed = tuple(target for target in verdict if target not in passed)
    return _with_crcs(bundle, passed, crc_type), failed


def _without_operations(bundle: Bundle, number: int, targets: Collection[int]) -> Bundle:
    """Security block without these operations, gone if none is left (RFC 9172 §5.1)."""
    block = _target(bundle, number)
    security = SecurityBlock.parse(block.data).without(targets)
    if not security.targets:
        return bundle.without(number)
    return bundle.replacing(replace(block, data=security.build()))


def add_confidentiality(
    bundle: Bundle,
    ivs: Mapping[int, bytes],
    keys: Keys,
    source: Eid,
    *,
    variant: AesVariant = AesVariant.A256GCM,
    scope: int = Scope.ALL,
    number: int | None = None,
    flags: int = 0,
) -> Bundle:
    """The bundle with blocks encrypted in place, and a BCB for each initialisation vector.

    ivs: target → initialisation vector of 8 … 16 octets, 12 recommended.  A vector never used
        before with the key, for every target: two targets of the same vector share a BCB, as in
        example A.4, and whoever sees both learns their difference and can forge (§4.6).
    keys: with both, the key is wrapped into the block.  number: of the first BCB.
    Raises LocalError for targets that RFC 9172 §3.8 and §3.9 forbid, keys and vectors of other
    lengths.
    """
    check_new(bundle, ivs.keys(), BlockType.CONFIDENTIALITY)
    if keys.key is None or len(keys.key) != _KEY_OCTETS[variant]:
        raise LocalError(f"{variant.name} wants a key of {_KEY_OCTETS[variant]} octets")
    cipher = AESGCM(keys.key)
    bundle = _without_crcs(bundle, ivs.keys())
    by_iv: dict[bytes, list[int]] = {}
    for target, iv in ivs.items():
        if not 8 <= len(iv) <= 16:
            raise LocalError(f"initialisation vector of {len(iv)} octets, 8..16 wanted (§4.3.1)")
        by_iv.setdefault(iv, []).append(target)
    for iv, targets in by_iv.items():
        parameters = [(_IV, write_octets(iv)), (_AES_VARIANT, write_unsigned(variant))]
        parameters += _wrapped(keys, _BCB_WRAPPED_KEY)
        parameters.append((_BCB_SCOPE, write_unsigned(scope & Scope.ALL)))
        own_flags = flags | (BlockFlags.REPLICATE if PAYLOAD_NUMBER in targets else 0)
        own = bundle.free_number() if number is None else number
        number = None
        block = Block(BlockType.CONFIDENTIALITY, own, own_flags, CrcType.NONE, b"")
        encrypted: list[Block] = []
        results: list[tuple[tuple[int, bytes], ...]] = []
        for target in targets:
            plain = _target(bundle, target)
            sealed = cipher.encrypt(
                iv, plain.data, authenticated_data(bundle, target, block, scope)
            )
            encrypted.append(replace(plain, data=sealed[:-_TAG_OCTETS]))
            results.append(((_RESULT, write_octets(sealed[-_TAG_OCTETS:])),))
        security = SecurityBlock(
            tuple(targets), BCB_AES_GCM, source, tuple(parameters), tuple(results)
        )
        bundle = bpsec.insert(bundle.replacing(*encrypted), replace(block, data=security.build()))
    return bundle


def accept_confidentiality(
    bundle: Bundle, number: int, keys: Keys, *, crc_type: int = CrcType.CRC32C
) -> tuple[Bundle, tuple[int, ...]]:
    """The bundle with the targets of a BCB in the clear and the BCB gone, and the targets lost.

    A target that does not authenticate is dropped with the operations on it (RFC 9172 §5.1.1); the
    payload never: then, and for a BCB that cannot be processed, RemoteError, and the bundle is to
    be discarded.  crc_type: what targets get again (§4.8.2); NONE at the bundle's destination.
    """
    security = _security(bundle, number, BlockType.CONFIDENTIALITY, BCB_AES_GCM)
    key = keys.of(security, _BCB_WRAPPED_KEY)
    variant = _number(security, _AES_VARIANT, AesVariant.A256GCM)
    if variant not in _KEY_OCTETS or len(key) != _KEY_OCTETS[variant]:
        raise RemoteError(f"AES variant {variant} with a key of {len(key)} octets (§4.3.2)")
    iv_octets = security.parameter(_IV)
    iv = b"" if iv_octets is None else OCTETS.parse(iv_octets)
    if not 8 <= len(iv) <= 16:
        raise RemoteError(f"initialisation vector of {len(iv)} octets, 8..16 wanted (§4.3.1)")
    scope = _number(security, _BCB_SCOPE, Scope.ALL)
    block = _target(bundle, number)
    cipher = AESGCM(key)
    clear: list[Block] = []
    lost: list[int] = []
    for target, results in zip(security.targets, security.results, strict=True):
        sealed = _target(bundle, target)
        tag = dict(results).get(_RESULT)
        # §4.4: without a result the tag stands behind the ciphertext.
        data = bytes(sealed.data) + (b"" if tag is None else _tag(tag))
        try:
            plain = cipher.decrypt(iv, data, authenticated_data(bundle, target, block, scope))
        except (InvalidTag, ValueError) as error:
            if target == PAYLOAD_NUMBER:
                raise RemoteError(f"payload does not authenticate with BCB {number}") from error
            lost.append(target)
        else:
            clear.append(replace(sealed, data=plain))
    bundle = bundle.replacing(*clear).without(number, *lost)
    for signed, bib in operations(bundle, BlockType.INTEGRITY).items():
        if signed in lost:
            bundle = _without_operations(bundle, bib, [signed])
    return _with_crcs(bundle, {block.number for block in clear}, crc_type), tuple(lost)


def _tag(encoded: bytes) -> bytes:
    tag = OCTETS.parse(encoded)
    if len(tag) != _TAG_OCTETS:
        raise RemoteError(f"authentication tag of {len(tag)} octets, {_TAG_OCTETS} wanted")
    return tag
