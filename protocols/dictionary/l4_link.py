"""The L4 relay's command link: what ground and spacecraft agree on besides the commands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

from protocols.coding.cltu import CltuCoding, build_cltu, transmission
from protocols.errors import LocalError
from protocols.frames.sdls import (
    Channel,
    KeyEvent,
    KeyStore,
    SaParameters,
    SecurityEndpoint,
    Service,
)
from protocols.frames.sdls_frames import protect_tc
from protocols.frames.sdls_initiator import SecurityInitiator
from protocols.frames.tc import FrameType, SequenceFlags, TcFrame, TcParameters, build
from protocols.identifiers import SCID_L4_RELAY

#: Telecommand virtual channel, and the MAP of packets.
TC_VCID: Final = 0
TC_MAP: Final = 0
#: MAP of the packets that manage keys and security associations (355.1-B), and of no others.
TC_MANAGEMENT_MAP: Final = 1
#: The command that carries them; it goes there and nowhere else, and nothing else goes there.
MANAGEMENT_COMMAND: Final = "SECURITY_PROCEDURE"
#: MAP of packets that go by the BD service.  Its association numbers their frames apart from those
#: of type AD, of which COP-1 repeats older ones behind newer ones of type BD: numbered together,
#: the repetitions would be refused as replays.
TC_EXPEDITED_MAP: Final = 2
#: Files: BD service on a channel of their own, so that they never wait for FOP-1, nor it for them.
FILE_VCID: Final = 1
TC_PARAMETERS: Final = TcParameters(SCID_L4_RELAY, vcids=frozenset({TC_VCID, FILE_VCID}))
CLTU_CODING: Final = CltuCoding()


def _agreed(spi: int, service: Service, map_id: int) -> SaParameters:
    channel = Channel(0, SCID_L4_RELAY, TC_VCID, map_id)
    return SaParameters(spi=spi, service=service, channels=frozenset({channel}), window=1_024)


#: Every frame but control commands (355.0-B) is authenticated with AES-CMAC and numbered.
TC_SECURITY: Final = _agreed(1, Service.AUTHENTICATION, TC_MAP)
#: Procedures come through an association of their own, so that no key manages itself; encrypted,
#: which hides what is managed.
TC_MANAGEMENT_SECURITY: Final = _agreed(2, Service.AUTHENTICATED_ENCRYPTION, TC_MANAGEMENT_MAP)
#: Unkeyed at first: the next key of each MAP goes here, and the ones after take turns.
TC_NEXT_SECURITY: Final = _agreed(3, Service.AUTHENTICATION, TC_MAP)
TC_NEXT_MANAGEMENT_SECURITY: Final = _agreed(4, Service.AUTHENTICATED_ENCRYPTION, TC_MANAGEMENT_MAP)
TC_EXPEDITED_SECURITY: Final = _agreed(6, Service.AUTHENTICATION, TC_EXPEDITED_MAP)
TC_NEXT_EXPEDITED_SECURITY: Final = _agreed(7, Service.AUTHENTICATION, TC_EXPEDITED_MAP)
TC_ASSOCIATIONS: Final = (
    TC_SECURITY,
    TC_MANAGEMENT_SECURITY,
    TC_NEXT_SECURITY,
    TC_NEXT_MANAGEMENT_SECURITY,
    TC_EXPEDITED_SECURITY,
    TC_NEXT_EXPEDITED_SECURITY,
)
#: Files are authenticated, too, and by an association that can do nothing else.
FILE_SECURITY: Final = SaParameters(
    spi=5,
    service=Service.AUTHENTICATION,
    channels=frozenset({Channel(0, SCID_L4_RELAY, FILE_VCID, TC_MAP)}),
    window=65_536,
)
FILE_KEY_ID: Final = 3
#: A PDU and its packet header fill one frame.
FILE_PACKET_OCTETS: Final = TC_PARAMETERS.room(FILE_VCID) - FILE_SECURITY.overhead
#: Keys loaded before launch, one for each association that is operational from the start.
TC_KEY_ID: Final = 1
TC_MANAGEMENT_KEY_ID: Final = 2
TC_EXPEDITED_KEY_ID: Final = 4
#: Wraps what OTAR brings.
MASTER_KEY_ID: Final = 100


@dataclass(frozen=True, slots=True)
class CommandKeys:
    """AES keys of the command link.  Without the other two nothing can be managed over the link.

    A key is in no `repr`.
    """

    command: bytes = field(repr=False)
    management: bytes | None = field(default=None, repr=False)
    master: bytes | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> CommandKeys:
        """Of a key file: keys in hexadecimal, a line each: command, management, master.

        Raises LocalError, which quotes nothing of it.
        """
        try:
            keys = [bytes.fromhex(line) for line in text.split("\n") if line.strip()]
        except ValueError:
            keys = []
        if len(keys) not in (1, 3) or any(len(key) not in (16, 24, 32) for key in keys):
            raise LocalError(
                "a key file holds one key (command) or three (command, management, master), "
                "each of 16, 24 or 32 octets in hexadecimal on a line of its own"
            )
        return cls(*keys)


#: The simulated spacecraft's; they guard nothing.  A mission's own come from its key management.
SIMULATION_KEY: Final = bytes.fromhex("4c3452656c617953696d756c61746f72")
SIMULATION_KEYS: Final = CommandKeys(
    SIMULATION_KEY,
    b"L4 relay simulator: manages keys",
    b"L4 relay simulator: wraps others",
)


#: The downlink, where a scenario has it encrypted: all virtual channels of AOS.
DOWNLINK_SECURITY: Final = SaParameters(
    spi=16,
    service=Service.AUTHENTICATED_ENCRYPTION,
    channels=frozenset(Channel(1, SCID_L4_RELAY, vcid) for vcid in range(64)),
)
DOWNLINK_KEY_ID: Final = 16
#: The simulated spacecraft's; it hides nothing.
SIMULATION_DOWNLINK_KEY: Final = b"L4 relay simulator: its downlink"


def downlink_sender(key: bytes, start_s: int) -> SecurityEndpoint:
    """The spacecraft's end of an encrypted downlink, switched on at `start_s` (TAI).

    Numbers go on from the time, so that no later start with the same key repeats an IV.
    """
    store = KeyStore()
    store.load(DOWNLINK_KEY_ID, key)
    store.move(DOWNLINK_KEY_ID, KeyEvent.ACTIVATE)
    endpoint = SecurityEndpoint(store, [DOWNLINK_SECURITY])
    endpoint.rekey(DOWNLINK_SECURITY.spi, DOWNLINK_KEY_ID, start_s << 32)
    endpoint.start(DOWNLINK_SECURITY.spi)
    return endpoint


def _derived(key: bytes, label: bytes) -> bytes:
    """A key of 128 bits for one purpose, which says nothing of the key that it is made of."""
    derivation = CMAC(AES(key))
    derivation.update(b"\x01L4 relay: " + label + b"\x00\x00\x80")
    return derivation.finalize()


def security_endpoint(keys: bytes | CommandKeys, number: int = 0) -> SecurityEndpoint:
    """Either end of the command link, operational; numbers above `number` follow.

    keys: bytes are the command key alone.  Raises LocalError for a key that is none of AES's.
    """
    if isinstance(keys, bytes):
        keys = CommandKeys(keys)
    store = KeyStore({} if keys.master is None else {MASTER_KEY_ID: keys.master})
    endpoint = SecurityEndpoint(store, TC_ASSOCIATIONS)
    for agreed, key_id, key in (
        (TC_SECURITY, TC_KEY_ID, keys.command),
        (TC_MANAGEMENT_SECURITY, TC_MANAGEMENT_KEY_ID, keys.management),
        (TC_EXPEDITED_SECURITY, TC_EXPEDITED_KEY_ID, _derived(keys.command, b"BD commands")),
    ):
        if key is not None:
            store.load(key_id, key)
            store.move(key_id, KeyEvent.ACTIVATE)
            endpoint.rekey(agreed.spi, key_id, number)
            endpoint.start(agreed.spi)
    return endpoint


def security_initiator(keys: CommandKeys) -> SecurityInitiator:
    """The ground's end, which manages keys and associations.  LocalError without a master key."""
    if keys.management is None or keys.master is None:
        raise LocalError("managing keys wants a management key and a master key")
    routes = {
        TC_MAP: TC_SECURITY.spi,
        TC_MANAGEMENT_MAP: TC_MANAGEMENT_SECURITY.spi,
        TC_EXPEDITED_MAP: TC_EXPEDITED_SECURITY.spi,
    }
    return SecurityInitiator(security_endpoint(keys), master_key_id=MASTER_KEY_ID, routes=routes)


def file_security(keys: bytes | CommandKeys, number: int = 0) -> SecurityEndpoint:
    """Either end of the files' association, operational; numbers above `number` follow.

    Its key is derived from the command key, so that neither says anything of the other.
    """
    store = KeyStore()
    store.load(FILE_KEY_ID, _derived(keys if isinstance(keys, bytes) else keys.command, b"files"))
    store.move(FILE_KEY_ID, KeyEvent.ACTIVATE)
    endpoint = SecurityEndpoint(store, (FILE_SECURITY,))
    endpoint.rekey(FILE_SECURITY.spi, FILE_KEY_ID, number)
    endpoint.start(FILE_SECURITY.spi)
    return endpoint


def file_uplink(security: SecurityEndpoint, packets: Iterable[bytes]) -> bytes:
    """Packets with files as octets for the command carrier: a BD frame and a CLTU each.

    security: of `file_security`; what it has counted is to be kept before this is radiated.
    """
    cltus: list[bytes] = []
    for packet in packets:
        frame = TcFrame(
            FILE_VCID,
            packet,
            FrameType.BD,
            map_id=TC_MAP,
            sequence_flags=SequenceFlags.UNSEGMENTED,
        )
        secured = protect_tc(security, FILE_SECURITY.spi, frame, TC_PARAMETERS)
        cltus.append(build_cltu(build(secured, TC_PARAMETERS), CLTU_CODING))
    return transmission(cltus) if cltus else b""
