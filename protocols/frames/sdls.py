"""Space data link security, CCSDS 355.0-B-2: security associations and their two functions.

ApplySecurity puts a security header before the data of a frame and a MAC after it, ProcessSecurity
checks and removes them.  Both see a frame as the octets before its security header and those after;
`sdls_frames` is the border to the frames themselves.

    >>> keys = KeyStore()
    >>> keys.load(1, bytes(16))
    >>> keys.move(1, KeyEvent.ACTIVATE)
    >>> agreed = SaParameters(spi=5, service=Service.AUTHENTICATION, channels={Channel(0, 76, 1)})
    >>> ground, spacecraft = (SecurityEndpoint(keys, [agreed]) for _ in range(2))
    >>> for end in (ground, spacecraft):
    ...     end.rekey(5, 1)
    ...     end.start(5)
    >>> field = ground.apply(5, Channel(0, 76, 1), b"header", b"data")
    >>> field.hex(" ", 2)[:25]
    '0005 0000 0001 6461 7461 '
    >>> spacecraft.process(Channel(0, 76, 1), b"header", field).data
    b'data'
    >>> spacecraft.process(Channel(0, 76, 1), b"header", field).refusal
    <Refusal.REPLAYED: 'sequence number not above the last one'>
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, GCM
from cryptography.hazmat.primitives.cmac import CMAC

from protocols.errors import LocalError
from protocols.frames.sdls_keys import KeyEvent, KeyStore
from protocols.frames.security_report import FrameSecurityReport

__all__ = [
    "SA_TABLE",
    "Channel",
    "KeyEvent",
    "KeyStore",
    "Processed",
    "Refusal",
    "SaEvent",
    "SaParameters",
    "SaState",
    "SecurityEndpoint",
    "Service",
]

#: Security parameter index, §4.1.1.2.
SPI_LENGTH: Final = 2
#: Octets of the IV that encryption needs; its value is the sequence number.
IV_LENGTH: Final = 12
#: Octets of AES-GCM's MAC before it is cut.
_WHOLE_MAC: Final = 16
#: §4.1.1.2.3: these two are no association's.
RESERVED_SPIS: Final = (0, 0xFFFF)


class Service(Enum):
    """§4.2.2.4; algorithms as in 352.0-B: AES in counter mode, CMAC-AES, AES-GCM."""

    ENCRYPTION = "encryption"
    AUTHENTICATION = "authentication"
    AUTHENTICATED_ENCRYPTION = "authenticated encryption"


class Channel(NamedTuple):
    """Global virtual channel, or MAP where a MAP has its own association; −1: every MAP.

    version: transfer frame version number, 0 TM and TC, 1 AOS, 12 USLP.
    """

    version: int
    scid: int
    vcid: int
    map_id: int = -1


class SaState(Enum):
    """355.1-B-1, management of security associations."""

    UNKEYED = 1
    KEYED = 2
    OPERATIONAL = 3


class SaEvent(Enum):
    REKEY = "rekey"
    START = "start"
    STOP = "stop"
    EXPIRE = "expire"


SA_TABLE: Final[dict[SaState, dict[SaEvent, SaState]]] = {
    SaState.UNKEYED: {SaEvent.REKEY: SaState.KEYED},
    SaState.KEYED: {SaEvent.START: SaState.OPERATIONAL, SaEvent.EXPIRE: SaState.UNKEYED},
    SaState.OPERATIONAL: {SaEvent.STOP: SaState.KEYED},
}


class Refusal(Enum):
    """Why ProcessSecurity gave out nothing; each is counted."""

    TOO_SHORT = "no room for security header and trailer"
    UNKNOWN_SPI = "no such security association"
    WRONG_CHANNEL = "association of another channel"
    NOT_OPERATIONAL = "association not operational"
    KEY_NOT_ACTIVE = "key not active"
    REPLAYED = "sequence number not above the last one"
    BEYOND_WINDOW = "sequence number too far above the last one"
    BAD_MAC = "MAC does not agree"


#: What a frame security report calls a bad security association.
_BAD_SA: Final = frozenset(
    {Refusal.UNKNOWN_SPI, Refusal.WRONG_CHANNEL, Refusal.NOT_OPERATIONAL, Refusal.KEY_NOT_ACTIVE}
)


@dataclass(frozen=True)
class SaParameters:
    """What both ends agree on of one security association; validated here.

    mask: authentication bit mask from the first octet of the frame on, over its headers, the
    security header (but for the IV) and, without encryption, its data (§4.2.2.6.2); where it is
    shorter than they are it goes on with ones.  None: `sdls_frames` has one for each kind of frame.
    sequence_number_length: octets, for authentication without encryption, which has no IV.
    window: how far a sequence number may lie above the last one, None without limit, as frames of
    telemetry may be missing for long.
    """

    spi: int
    service: Service
    channels: frozenset[Channel] | set[Channel]
    mac_length: int = 16
    sequence_number_length: int = 4
    mask: bytes | None = None
    window: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", frozenset(self.channels))
        if not 0 <= self.spi <= 0xFFFF or self.spi in RESERVED_SPIS:
            raise LocalError(f"SPI {self.spi}: 1..65534 (355.0-B-2 §4.1.1.2)")
        if not self.channels:
            raise LocalError(f"SPI {self.spi}: a security association without a channel")
        if not 8 <= self.mac_length <= 16:
            raise LocalError(f"SPI {self.spi}: MAC of {self.mac_length} octets, 8..16 allowed")
        if not 1 <= self.sequence_number_length <= 8:
            raise LocalError(
                f"SPI {self.spi}: sequence number of {self.sequence_number_length} octets, 1..8"
            )
        if self.window is not None and self.window < 1:
            raise LocalError(f"SPI {self.spi}: window {self.window}, at least 1 wanted")

    @property
    def encrypts(self) -> bool:
        return self.service is not Service.AUTHENTICATION

    @property
    def authenticates(self) -> bool:
        return self.service is not Service.ENCRYPTION

    @property
    def number_length(self) -> int:
        """Octets of the IV or the sequence number in the security header."""
        return IV_LENGTH if self.encrypts else self.sequence_number_length

    @property
    def header_length(self) -> int:
        return SPI_LENGTH + self.number_length

    @property
    def trailer_length(self) -> int:
        return self.mac_length if self.authenticates else 0

    @property
    def overhead(self) -> int:
        """Octets that a frame's data has less room."""
        return self.header_length + self.trailer_length


@dataclass
class SecurityAssociation:
    """State of one association at one end.

    number: sequence number sent last, or accepted last.  sent: the highest ever sent with this key.
    last_event: for a status request.
    """

    parameters: SaParameters
    state: SaState = SaState.UNKEYED
    key_id: int | None = None
    number: int = 0
    sent: int = 0
    window: int | None = None
    last_event: SaEvent | None = None


@dataclass(frozen=True, slots=True)
class Processed:
    """Either data or the reason why there is none; number: as the frame says it, if it does."""

    data: bytes | None
    refusal: Refusal | None
    spi: int | None
    number: int = 0


class SecurityEndpoint:
    """One end of a link: its keys and its security associations.

    An association protects one direction: one end applies, the other processes.  Several may be
    operational on one channel, which is how keys roll over without a gap: the next one is started
    in time, and the sender changes to it.  Refused frames change nothing but `statistics`.
    """

    def __init__(self, keys: KeyStore, associations: Iterable[SaParameters]) -> None:
        self.keys = keys
        self.statistics: Counter[Refusal | str] = Counter()
        #: A frame was refused; until someone resets it (355.1-B-1, alarm flag reset).
        self.alarm = False
        self._last: Processed | None = None
        self._associations: dict[int, SecurityAssociation] = {}
        #: Keys that an association has, or has had: with another number, or that of another
        #: association, they would repeat IVs.
        self._used_keys: dict[int, int] = {}
        for parameters in associations:
            if parameters.spi in self._associations:
                raise LocalError(f"two security associations of SPI {parameters.spi}")
            self._associations[parameters.spi] = SecurityAssociation(
                parameters, window=parameters.window
            )

    def association(self, spi: int) -> SecurityAssociation:
        association = self._associations.get(spi)
        if association is None:
            raise LocalError(f"no security association of SPI {spi}")
        return association

    @property
    def spis(self) -> list[int]:
        """Of its associations, in order."""
        return sorted(self._associations)

    # Management, 355.1-B-1 ----------------------------------------------------------------------

    def _move(self, spi: int, event: SaEvent) -> SecurityAssociation:
        association = self.association(spi)
        following = SA_TABLE[association.state].get(event)
        if following is None:
            raise LocalError(f"SPI {spi}: {event.value} while {association.state.name}")
        association.state, association.last_event = following, event
        return association

    def rekey(self, spi: int, key_id: int, number: int = 0) -> None:
        """A key that no association has had; numbers above `number` follow."""
        association = self.association(spi)
        if key_id in self._used_keys:
            raise LocalError(
                f"key {key_id} for SPI {spi}: SPI {self._used_keys[key_id]} has had it, "
                "and IVs would repeat"
            )
        self.keys.state(key_id)
        self._check_number(association, number)
        self._move(spi, SaEvent.REKEY)
        association.key_id, association.number, association.sent = key_id, number, number
        self._used_keys[key_id] = spi

    def start(self, spi: int) -> None:
        self._move(spi, SaEvent.START)

    def stop(self, spi: int) -> None:
        self._move(spi, SaEvent.STOP)

    def expire(self, spi: int) -> None:
        self._move(spi, SaEvent.EXPIRE).key_id = None

    def set_number(self, spi: int, number: int) -> None:
        """Set ARSN: numbers above this one are accepted, or sent, from now on.

        Raises LocalError for less than was sent with this key: IVs would repeat.
        """
        association = self.association(spi)
        self._check_number(association, number)
        if association.parameters.encrypts and number < association.sent:
            raise LocalError(
                f"SPI {spi}: {association.sent} was sent already, {number} would repeat"
            )
        association.number = number

    @staticmethod
    def _check_number(association: SecurityAssociation, number: int) -> None:
        most = (1 << 8 * association.parameters.number_length) - 1
        if not 0 <= number <= most:
            raise LocalError(f"sequence number {number}: 0..{most} for this association")

    def snapshot(self) -> list[list[Any]]:
        """States and numbers, for `restore`; keys are not in it.

        Of a sender it has to be kept before what `apply` made is sent: an IV is never used twice.
        """
        return [
            [
                spi, one.state.name, one.key_id, one.number, one.sent, one.window,
                one.last_event.name if one.last_event else None,
                [key_id for key_id, used_by in self._used_keys.items() if used_by == spi],
            ]
            for spi, one in self._associations.items()
        ]  # fmt: skip

    def restore(self, snapshot: Iterable[list[Any]]) -> None:
        """As it was; LocalError for an association that is not there."""
        for spi, state, key_id, number, sent, window, last_event, used in snapshot:
            association = self.association(spi)
            association.state, association.key_id = SaState[state], key_id
            association.number, association.sent, association.window = number, sent, window
            association.last_event = SaEvent[last_event] if last_event else None
            self._used_keys.update(dict.fromkeys(used, spi))

    # The two functions -------------------------------------------------------------------------

    def apply(
        self, spi: int, channel: Channel, before: bytes, data: bytes, mask: bytes = b""
    ) -> bytes:
        """ApplySecurity, §4.2.3: security header, data and trailer of a frame.

        before: the octets of the frame before them; mask: of an association that has none of its
        own.  Raises LocalError for a channel that is not the association's, one that is not
        operational, and one that has used up its numbers.
        """
        association = self.association(spi)
        parameters = association.parameters
        if not _covers(parameters, channel):
            raise LocalError(f"SPI {spi} does not protect {channel}")
        if association.state is not SaState.OPERATIONAL or association.key_id is None:
            raise LocalError(f"SPI {spi} is {association.state.name}, not operational")
        key = self.keys.value(association.key_id)
        self._check_number(association, association.number + 1)
        association.number += 1
        association.sent = max(association.sent, association.number)
        number = association.number.to_bytes(parameters.number_length, "big")
        header = spi.to_bytes(SPI_LENGTH, "big") + number
        if parameters.service is Service.AUTHENTICATION:
            payload = _masked(before + header + data, parameters, mask)
            return header + data + _cmac(key, payload)[: parameters.mac_length]
        if parameters.service is Service.ENCRYPTION:
            return header + _counter_mode(key, number, data)
        covered = _masked(before + _without_iv(header), parameters, mask)
        sealed = self.keys.gcm(association.key_id).encrypt(number, data, covered)
        return header + sealed[: len(data) + parameters.mac_length]

    def process(
        self, channel: Channel, before: bytes, field: bytes, mask: bytes = b""
    ) -> Processed:
        """ProcessSecurity, §4.2.4: data of a frame, if it is what the other end sent, and new."""
        result = self._process(channel, before, field, mask)
        self.statistics["accepted" if result.refusal is None else result.refusal] += 1
        self.alarm |= result.refusal is not None
        self._last = result
        return result

    @property
    def report(self) -> FrameSecurityReport | None:
        """Of the last frame processed; None before the first."""
        if self._last is None:
            return None
        refusal = self._last.refusal
        return FrameSecurityReport(
            self.alarm,
            refusal in (Refusal.REPLAYED, Refusal.BEYOND_WINDOW),
            refusal is Refusal.BAD_MAC,
            refusal in _BAD_SA,
            self._last.spi or 0,
            self._last.number,
        )

    def _process(self, channel: Channel, before: bytes, field: bytes, mask: bytes) -> Processed:
        if len(field) < SPI_LENGTH:
            return Processed(None, Refusal.TOO_SHORT, None)
        spi = int.from_bytes(field[:SPI_LENGTH], "big")
        association = self._associations.get(spi)
        if association is None:
            return Processed(None, Refusal.UNKNOWN_SPI, spi)
        parameters = association.parameters
        if not _covers(parameters, channel):
            return Processed(None, Refusal.WRONG_CHANNEL, spi)
        if association.state is not SaState.OPERATIONAL:
            return Processed(None, Refusal.NOT_OPERATIONAL, spi)
        if association.key_id is None or not self.keys.is_active(association.key_id):
            return Processed(None, Refusal.KEY_NOT_ACTIVE, spi)
        if len(field) <= parameters.overhead:
            return Processed(None, Refusal.TOO_SHORT, spi)
        header = field[: parameters.header_length]
        number = int.from_bytes(header[SPI_LENGTH:], "big")
        # §2.3.2.3.  Before the MAC, to save it; only a MAC that agrees moves the number (§4.2.4.4).
        if parameters.authenticates:
            if number <= association.number:
                return Processed(None, Refusal.REPLAYED, spi, number)
            if association.window is not None and number - association.number > association.window:
                return Processed(None, Refusal.BEYOND_WINDOW, spi, number)
        end = len(field) - parameters.trailer_length
        data, mac = field[parameters.header_length : end], field[end:]
        key = self.keys.value(association.key_id)
        if parameters.service is Service.AUTHENTICATION:
            payload = _masked(before + header + data, parameters, mask)
            wanted = _cmac(key, payload)[: parameters.mac_length]
            opened = data if hmac.compare_digest(wanted, mac) else None
        elif parameters.service is Service.ENCRYPTION:
            opened = _counter_mode(key, header[SPI_LENGTH:], data)
        else:
            covered = _masked(before + _without_iv(header), parameters, mask)
            iv = header[SPI_LENGTH:]
            if parameters.mac_length == _WHOLE_MAC:
                opened = _open_whole(self.keys.gcm(association.key_id), iv, covered, data + mac)
            else:
                opened = _open(key, iv, covered, data, mac)
        if opened is None:
            return Processed(None, Refusal.BAD_MAC, spi, number)
        association.number = number
        return Processed(opened, None, spi, number)


def _covers(parameters: SaParameters, channel: Channel) -> bool:
    return channel in parameters.channels or channel._replace(map_id=-1) in parameters.channels


def _without_iv(header: bytes) -> bytes:
    """§4.2.2.6.2 h): the IV is left out of what is authenticated; GCM depends on it anyway."""
    return header[:SPI_LENGTH] + bytes(IV_LENGTH)


def _masked(octets: bytes, parameters: SaParameters, mask: bytes) -> bytes:
    """The authentication payload, or the part of it that is not encrypted."""
    mask = (mask if parameters.mask is None else parameters.mask)[: len(octets)]
    length = len(mask)
    masked = int.from_bytes(octets[:length], "big") & int.from_bytes(mask, "big")
    return masked.to_bytes(length, "big") + octets[length:]


def _open_whole(gcm: AESGCM, iv: bytes, covered: bytes, sealed: bytes) -> bytes | None:
    """The same for a MAC that is not cut, in a third of the time."""
    try:
        return gcm.decrypt(iv, sealed, covered)
    except InvalidTag:
        return None


def _open(key: bytes, iv: bytes, covered: bytes, data: bytes, mac: bytes) -> bytes | None:
    """AES-GCM; None where the MAC does not agree."""
    decryptor = Cipher(AES(key), GCM(iv, mac, min_tag_length=len(mac))).decryptor()
    decryptor.authenticate_additional_data(covered)
    try:
        return decryptor.update(data) + decryptor.finalize()
    except InvalidTag:
        return None


def _cmac(key: bytes, octets: bytes) -> bytes:
    cmac = CMAC(AES(key))
    cmac.update(octets)
    return cmac.finalize()


def _counter_mode(key: bytes, number: bytes, data: bytes) -> bytes:
    """Blocks of a frame are counted in the last four octets of the counter, from 0."""
    transform = Cipher(AES(key), CTR(number + bytes(16 - IV_LENGTH))).encryptor()
    return transform.update(data) + transform.finalize()
