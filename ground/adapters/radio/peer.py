"""The other end of an adapter's wire, as the contract drives it: real sockets, real files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence


class Peer(ABC):
    """One end for one adapter at a time; `uri` is that adapter's address.

    can_leave: `leave` and `come_back` break the connection and let it be made again.
    can_gap: `gap` loses something so that the adapter can notice.
    can_garble: `garbage` sends what the wire does not carry.
    """

    can_leave: bool = False
    can_gap: bool = False
    can_garble: bool = False
    #: Size of a block that suits the wire, octets.
    block_octets: int = 1024

    uri: str
    #: Of an adapter that transmits, where that is another address.
    out_uri: str = ""

    @abstractmethod
    def send(self, blocks: Sequence[bytes]) -> None:
        """Put blocks on the wire, once the adapter is connected; returns when they are on it.
        Of a recording: all there is, before the adapter is opened."""

    def received(self) -> bytes:
        """What the adapter has sent by now, in order."""
        raise NotImplementedError

    def let_go(self) -> None:  # noqa: B027 - most wires cannot show it
        """Wait until the adapter is seen to have left the wire; of wires that cannot show it: at
        once."""

    def leave(self) -> None:
        raise NotImplementedError

    def come_back(self) -> None:
        raise NotImplementedError

    def gap(self) -> None:
        raise NotImplementedError

    def garbage(self) -> None:
        raise NotImplementedError

    @abstractmethod
    def close(self) -> None: ...


__all__ = ["Peer"]
