"""The L4 relay's command link: what ground and spacecraft agree on besides the commands."""

from __future__ import annotations

from typing import Final

from protocols.coding.cltu import CltuCoding
from protocols.frames.sdls import (
    Channel,
    KeyEvent,
    KeyStore,
    SaParameters,
    SecurityEndpoint,
    Service,
)
from protocols.frames.tc import TcParameters
from protocols.identifiers import SCID_L4_RELAY

#: Telecommand virtual channel, and the MAP of packets.
TC_VCID: Final = 0
TC_MAP: Final = 0
TC_PARAMETERS: Final = TcParameters(SCID_L4_RELAY, vcids=frozenset({TC_VCID}))
CLTU_CODING: Final = CltuCoding()
#: Every frame but control commands (355.0-B) is authenticated with AES-CMAC and numbered.
TC_SECURITY: Final = SaParameters(
    spi=1,
    service=Service.AUTHENTICATION,
    channels=frozenset({Channel(0, SCID_L4_RELAY, TC_VCID, TC_MAP)}),
    window=1_024,
)
TC_KEY_ID: Final = 1
#: The simulated spacecraft's; it guards nothing.  A mission's own comes from its key management.
SIMULATION_KEY: Final = bytes.fromhex("4c3452656c617953696d756c61746f72")


def security_endpoint(key: bytes, number: int = 0) -> SecurityEndpoint:
    """Either end of the command link, operational; numbers above `number` follow.

    Raises LocalError for a key that is none of AES's.
    """
    keys = KeyStore()
    keys.load(TC_KEY_ID, key)
    keys.move(TC_KEY_ID, KeyEvent.ACTIVATE)
    endpoint = SecurityEndpoint(keys, [TC_SECURITY])
    endpoint.rekey(TC_SECURITY.spi, TC_KEY_ID, number)
    endpoint.start(TC_SECURITY.spi)
    return endpoint
