"""Authenticated encryption of a downlink (CCSDS 355.0-B): the key, from its file, and the endpoint.

A mission file names the file, never a key; nothing here shows one: not `repr`, not an error, and
not what `LinkProfile.describe` gives to reports and snapshots.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ground.keyring import read_secret
from protocols.errors import LocalError
from protocols.frames.parameters import FrameParameters
from protocols.frames.sdls import (
    Channel,
    KeyEvent,
    KeyStore,
    Refusal,
    SaParameters,
    SecurityEndpoint,
    Service,
)
from protocols.frames.sdls_keys import KEY_LENGTHS

_TFVN = {"tm": 0, "aos": 1}
_KEY_ID = 1


@dataclass(frozen=True, slots=True)
class LinkSecurity:
    """One security association, AES-GCM, for all virtual channels of a link."""

    spi: int
    key_file: str
    key: bytes = field(repr=False)
    mac_length: int = 16

    @classmethod
    def load(cls, spi: int, key_file: Path, mac_length: int = 16) -> LinkSecurity:
        """Raises LocalError for a file that cannot be read, that everybody may read, or that holds
        no key in hexadecimal."""
        try:
            key = bytes.fromhex(read_secret(key_file))
        except LocalError as error:
            raise LocalError(f"key file {error}") from None
        except ValueError:
            key = b""
        if len(key) not in KEY_LENGTHS:
            raise LocalError(f"key file {key_file}: no key of 16, 24 or 32 octets in hexadecimal")
        return cls(spi, str(key_file), key, mac_length)

    def agreed(self, parameters: FrameParameters) -> SaParameters:
        """Raises LocalError for frames that this end does not open."""
        if parameters.kind not in _TFVN:
            raise LocalError(f"security: {parameters.kind} frames; of {', '.join(_TFVN)} wanted")
        if parameters.scid is None:
            raise LocalError("security wants frames.scid: its MAC covers it")
        version = _TFVN[parameters.kind]
        channels = {
            Channel(version, parameters.scid, vcid) for vcid in range(parameters.vcid_count)
        }
        return SaParameters(
            self.spi,
            Service.AUTHENTICATED_ENCRYPTION,
            frozenset(channels),
            mac_length=self.mac_length,
        )

    def endpoint(self, parameters: FrameParameters) -> SecurityEndpoint:
        """The receiving end, before the first frame."""
        keys = KeyStore()
        keys.load(_KEY_ID, self.key)
        keys.move(_KEY_ID, KeyEvent.ACTIVATE)
        endpoint = SecurityEndpoint(keys, [self.agreed(parameters)])
        endpoint.rekey(self.spi, _KEY_ID)
        endpoint.start(self.spi)
        return endpoint

    def describe(self) -> dict[str, Any]:
        return {"spi": self.spi, "key_file": self.key_file, "mac_length": self.mac_length}


def security_counts(endpoint: SecurityEndpoint) -> dict[str, int]:
    """An endpoint's counts, its refusals by name."""
    return {
        one.name if isinstance(one, Refusal) else one: n for one, n in endpoint.statistics.items()
    }


def by_name(name: str) -> Refusal | str:
    """The inverse, of one name."""
    return Refusal[name] if name in Refusal.__members__ else name


__all__ = ["LinkSecurity", "by_name", "security_counts"]
