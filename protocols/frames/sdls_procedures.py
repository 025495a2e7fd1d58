"""Extended procedures of link security, CCSDS 355.1-B-1: keys and associations managed by PDUs.

A PDU is a tag, the length of its data in bits, and the data.  `SecurityUnit` is the recipient.

    >>> pdu = build_pdu(Pdu(Procedure.START_SA, SpiRequest(5).build()))
    >>> pdu.hex()
    '1b00100005'
    >>> parse_pdu(pdu).procedure.name
    'START_SA'
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from protocols.errors import LocalError, RemoteError
from protocols.frames.sdls import IV_LENGTH, SaEvent, SecurityEndpoint
from protocols.frames.sdls_keys import KEY_TABLE, KeyEvent

MAC_LENGTH: Final = 16
CHALLENGE_LENGTH: Final = 16
#: Octets of a key that OTAR brings.
KEY_LENGTH: Final = 32
_REPLY: Final = 0x80


class Procedure(IntEnum):
    """Service group (bits 2 and 3) and procedure (bits 4 to 7) of the tag."""

    OTAR = 0x01
    ACTIVATE_KEYS = 0x02
    DEACTIVATE_KEYS = 0x03
    VERIFY_KEYS = 0x04
    DESTROY_KEYS = 0x06
    KEY_INVENTORY = 0x07
    READ_ARSN = 0x10
    SET_ARSN_WINDOW = 0x15
    REKEY_SA = 0x16
    EXPIRE_SA = 0x19
    SET_ARSN = 0x1A
    START_SA = 0x1B
    STOP_SA = 0x1E
    SA_STATUS = 0x1F
    PING = 0x31
    RESET_ALARM = 0x37


_TAGS: Final = frozenset(Procedure)

#: What a status reply says of the last transition: the procedure that made it.
_TRANSITIONS: Final = {
    SaEvent.REKEY: Procedure.REKEY_SA,
    SaEvent.START: Procedure.START_SA,
    SaEvent.STOP: Procedure.STOP_SA,
    SaEvent.EXPIRE: Procedure.EXPIRE_SA,
}


@dataclass(frozen=True, slots=True)
class Pdu:
    procedure: Procedure
    data: bytes = b""
    reply: bool = False


def build_pdu(pdu: Pdu) -> bytes:
    """Raises LocalError for data whose bits 16 bits cannot count."""
    if 8 * len(pdu.data) > 0xFFFF:
        raise LocalError(f"PDU data of {len(pdu.data)} octets: at most {0xFFFF // 8}")
    tag = pdu.procedure | (_REPLY if pdu.reply else 0)
    return bytes((tag,)) + (8 * len(pdu.data)).to_bytes(2, "big") + pdu.data


def parse_pdu(octets: bytes) -> Pdu:
    """Raises RemoteError for an unknown tag or a length that does not agree."""
    if len(octets) < 3:
        raise RemoteError(f"security PDU of {len(octets)} octets", data=octets)
    if octets[0] & 0x40 or octets[0] & ~_REPLY not in _TAGS:
        raise RemoteError(f"security PDU with tag {octets[0]:#04x}", data=octets)
    bits = int.from_bytes(octets[1:3], "big")
    if bits != 8 * (len(octets) - 3):
        raise RemoteError(
            f"security PDU says {bits} bits of data and has {8 * (len(octets) - 3)}", data=octets
        )
    return Pdu(Procedure(octets[0] & ~_REPLY), octets[3:], bool(octets[0] & _REPLY))


def _u16(*values: int) -> bytes:
    for value in values:
        if not 0 <= value < 1 << 16:
            raise LocalError(f"id {value}: 0..65535")
    return b"".join(value.to_bytes(2, "big") for value in values)


def _split(data: bytes, size: int, what: str) -> list[bytes]:
    """At least one piece of `size` octets; RemoteError for anything else."""
    if not data or len(data) % size:
        raise RemoteError(f"{what} of {len(data)} octets, a multiple of {size} wanted", data=data)
    return [data[at : at + size] for at in range(0, len(data), size)]


@dataclass(frozen=True, slots=True)
class Otar:
    """Session keys, encrypted under a master key; iv: never the same under one key."""

    master_key_id: int
    iv: bytes
    keys: tuple[tuple[int, bytes], ...]

    def build(self, master_key: bytes) -> bytes:
        if len(self.iv) != IV_LENGTH:
            raise LocalError(f"IV of {len(self.iv)} octets, {IV_LENGTH} wanted")
        for key_id, value in self.keys:
            if len(value) != KEY_LENGTH:
                raise LocalError(f"key {key_id} of {len(value)} octets, {KEY_LENGTH} wanted")
        plain = b"".join(_u16(key_id) + value for key_id, value in self.keys)
        return _u16(self.master_key_id) + self.iv + AESGCM(master_key).encrypt(self.iv, plain, None)

    @staticmethod
    def master_key_of(data: bytes) -> int:
        if len(data) < 2 + IV_LENGTH + MAC_LENGTH:
            raise RemoteError(f"OTAR of {len(data)} octets", data=data)
        return int.from_bytes(data[:2], "big")

    @classmethod
    def parse(cls, data: bytes, master_key: bytes) -> Otar:
        """Raises RemoteError for what was not made with this key."""
        master_key_id = cls.master_key_of(data)
        iv, sealed = data[2 : 2 + IV_LENGTH], data[2 + IV_LENGTH :]
        try:
            plain = AESGCM(master_key).decrypt(iv, sealed, None)
        except InvalidTag as error:
            raise RemoteError("OTAR: MAC does not agree", data=data) from error
        keys = _split(plain, 2 + KEY_LENGTH, "OTAR keys")
        return cls(master_key_id, iv, tuple((int.from_bytes(k[:2], "big"), k[2:]) for k in keys))


@dataclass(frozen=True, slots=True)
class KeyIds:
    """Of activation, deactivation and destruction."""

    key_ids: tuple[int, ...]

    def build(self) -> bytes:
        return _u16(*self.key_ids)

    @classmethod
    def parse(cls, data: bytes) -> KeyIds:
        return cls(tuple(int.from_bytes(k, "big") for k in _split(data, 2, "key ids")))


@dataclass(frozen=True, slots=True)
class KeyChallenge:
    """The recipient shall encrypt each key's challenge with it."""

    challenges: tuple[tuple[int, bytes], ...]

    def build(self) -> bytes:
        for key_id, challenge in self.challenges:
            if len(challenge) != CHALLENGE_LENGTH:
                raise LocalError(
                    f"challenge of {len(challenge)} octets for key {key_id}, {CHALLENGE_LENGTH}"
                )
        return b"".join(_u16(key_id) + challenge for key_id, challenge in self.challenges)

    @classmethod
    def parse(cls, data: bytes) -> KeyChallenge:
        pieces = _split(data, 2 + CHALLENGE_LENGTH, "key challenges")
        return cls(tuple((int.from_bytes(p[:2], "big"), p[2:]) for p in pieces))


def answer_challenge(key_id: int, key: bytes, challenge: bytes, iv: bytes) -> bytes:
    """Key id, IV, encrypted challenge and its MAC."""
    return _u16(key_id) + iv + AESGCM(key).encrypt(iv, challenge, None)


def is_answer(answer: bytes, key_id: int, key: bytes, challenge: bytes) -> bool:
    """Whether this answer, of a VERIFY_KEYS reply, shows that the recipient has the key."""
    if len(answer) != 2 + IV_LENGTH + CHALLENGE_LENGTH + MAC_LENGTH:
        return False
    iv = answer[2 : 2 + IV_LENGTH]
    return answer == answer_challenge(key_id, key, challenge, iv)


@dataclass(frozen=True, slots=True)
class SpiRequest:
    """Of START_SA, STOP_SA, EXPIRE_SA, READ_ARSN and SA_STATUS; channels are agreed, not sent."""

    spi: int

    def build(self) -> bytes:
        return _u16(self.spi)


@dataclass(frozen=True, slots=True)
class RekeySa:
    """Key and sequence number, in as many octets as the association's IV or number has."""

    spi: int
    key_id: int
    number: int

    def build(self, number_length: int) -> bytes:
        return _u16(self.spi, self.key_id) + self.number.to_bytes(number_length, "big")


@dataclass(frozen=True, slots=True)
class SetArsn:
    spi: int
    number: int

    def build(self, number_length: int) -> bytes:
        return _u16(self.spi) + self.number.to_bytes(number_length, "big")


@dataclass(frozen=True, slots=True)
class SetArsnWindow:
    spi: int
    window: int

    def build(self, length: int = 4) -> bytes:
        """length: octets of the window, 1..8."""
        return _u16(self.spi) + self.window.to_bytes(length, "big")


class SecurityUnit:
    """Recipient of PDUs: the end whose keys and associations they manage.

    challenge_iv: first IV of its answers to key challenges, counted up with each; those of frames,
    which may be under the same keys, would meet it after 2⁹⁵.  What cannot be done changes nothing
    and is counted in `refused`.
    """

    def __init__(self, endpoint: SecurityEndpoint, *, challenge_iv: int = 1 << 95) -> None:
        self.endpoint = endpoint
        self.executed: Counter[Procedure] = Counter()
        self.refused = 0
        self._challenge_iv = challenge_iv

    def execute(self, octets: bytes, through: int | None = None) -> bytes | None:
        """Octets of the reply, empty where none is defined; None: refused."""
        try:
            return self.perform(octets, through)
        except (RemoteError, LocalError):
            return None

    def perform(self, octets: bytes, through: int | None = None) -> bytes:
        """The same; RemoteError or LocalError say why it is refused.

        through: SPI of the association that the PDU came through, which says who sent it.  Neither
        that association nor its key can be taken away through it: nothing would be left to manage
        the others with.
        """
        try:
            pdu = parse_pdu(octets)
            if pdu.reply:
                raise RemoteError("a reply is no command", data=octets)
            if through is not None:
                self._check_not_own(pdu, through)
            reply = self._execute(pdu)
        except (RemoteError, LocalError):
            self.refused += 1
            raise
        self.executed[pdu.procedure] += 1
        return build_pdu(Pdu(pdu.procedure, reply, reply=True)) if reply is not None else b""

    def _check_not_own(self, pdu: Pdu, through: int) -> None:
        if pdu.procedure in (Procedure.STOP_SA, Procedure.EXPIRE_SA):
            own, what = pdu.data == _u16(through), f"SPI {through}"
        elif pdu.procedure is Procedure.DEACTIVATE_KEYS:
            key_id = self.endpoint.association(through).key_id
            own, what = key_id in KeyIds.parse(pdu.data).key_ids, f"key {key_id}"
        else:
            return
        if own:
            raise LocalError(f"{pdu.procedure.name}: this command came through {what} itself")

    def _execute(self, pdu: Pdu) -> bytes | None:
        """Data of the reply, None where none is defined."""
        match pdu.procedure:
            case Procedure.OTAR:
                self._otar(pdu.data)
            case Procedure.ACTIVATE_KEYS:
                self._move_keys(pdu.data, KeyEvent.ACTIVATE)
            case Procedure.DEACTIVATE_KEYS:
                self._move_keys(pdu.data, KeyEvent.DEACTIVATE)
            case Procedure.DESTROY_KEYS:
                self._move_keys(pdu.data, KeyEvent.DESTROY)
            case Procedure.VERIFY_KEYS:
                return self._verify(pdu.data)
            case Procedure.KEY_INVENTORY:
                return self._inventory(pdu.data)
            case Procedure.PING:
                return b""
            case Procedure.RESET_ALARM:
                self.endpoint.alarm = False
            case _:
                return self._association(pdu)
        return None

    def _otar(self, data: bytes) -> None:
        keys = self.endpoint.keys
        message = Otar.parse(data, keys.master(Otar.master_key_of(data)))
        known = set(keys)
        ids = [key_id for key_id, _ in message.keys]
        if len(set(ids)) < len(ids) or known & set(ids):
            # All or nothing; `load` alone would stop half way.
            raise RemoteError(f"OTAR of keys {ids}: some are there already", data=data)
        for key_id, value in message.keys:
            keys.load(key_id, value)

    def _move_keys(self, data: bytes, event: KeyEvent) -> None:
        keys = self.endpoint.keys
        ids = KeyIds.parse(data).key_ids
        if len(set(ids)) < len(ids) or any(event not in KEY_TABLE[keys.state(k)] for k in ids):
            raise RemoteError(f"keys {ids}: not all can {event.value}", data=data)
        for key_id in ids:
            keys.move(key_id, event)

    def _verify(self, data: bytes) -> bytes:
        answers: list[bytes] = []
        for key_id, challenge in KeyChallenge.parse(data).challenges:
            iv = self._challenge_iv.to_bytes(IV_LENGTH, "big")
            self._challenge_iv += 1
            value = self.endpoint.keys.verifiable(key_id)
            answers.append(answer_challenge(key_id, value, challenge, iv))
        return b"".join(answers)

    def _inventory(self, data: bytes) -> bytes:
        """Count, then id and state of each key from the first to the last id asked for."""
        if len(data) != 4:
            raise RemoteError(f"key inventory request of {len(data)} octets", data=data)
        first, last = (int.from_bytes(data[at : at + 2], "big") for at in (0, 2))
        keys = self.endpoint.keys
        found = [key_id for key_id in keys if first <= key_id <= last]
        states = b"".join(_u16(key_id) + bytes((keys.state(key_id).value,)) for key_id in found)
        return _u16(len(found)) + states

    def _association(self, pdu: Pdu) -> bytes | None:
        if len(pdu.data) < 2:
            raise RemoteError("no SPI", data=pdu.data)
        spi, rest = int.from_bytes(pdu.data[:2], "big"), pdu.data[2:]
        association = self.endpoint.association(spi)
        length = association.parameters.number_length
        allowed = {
            Procedure.REKEY_SA: (2 + length,),
            Procedure.SET_ARSN: (length,),
            Procedure.SET_ARSN_WINDOW: range(1, 9),
        }.get(pdu.procedure, (0,))
        if len(rest) not in allowed:
            raise RemoteError(
                f"{pdu.procedure.name}: {len(rest)} octets after the SPI", data=pdu.data
            )
        match pdu.procedure:
            case Procedure.START_SA:
                self.endpoint.start(spi)
            case Procedure.STOP_SA:
                self.endpoint.stop(spi)
            case Procedure.EXPIRE_SA:
                self.endpoint.expire(spi)
            case Procedure.REKEY_SA:
                key_id, number = (int.from_bytes(part, "big") for part in (rest[:2], rest[2:]))
                self.endpoint.rekey(spi, key_id, number)
            case Procedure.SET_ARSN:
                self.endpoint.set_number(spi, int.from_bytes(rest, "big"))
            case Procedure.SET_ARSN_WINDOW:
                association.window = int.from_bytes(rest, "big") or None
            case Procedure.READ_ARSN:
                return _u16(spi) + association.number.to_bytes(length, "big")
            case _:
                last = association.last_event
                return _u16(spi) + bytes((0 if last is None else _TRANSITIONS[last],))
        return None
