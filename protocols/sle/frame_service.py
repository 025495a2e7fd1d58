"""RAF and RCF on the provider's side: frames as they are received, to whoever has started."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from protocols.errors import LocalError, RemoteError
from protocols.sle import frames
from protocols.sle.ber import Chosen
from protocols.sle.common import Refused, ServiceType
from protocols.sle.frames import Lock, Production, Quality, RequestedQuality, local_antenna
from protocols.sle.parameters import Channel, DeliveryMode, MasterChannel, Name
from protocols.sle.provider import Service, State
from protocols.sle.tml import S_NS

#: Which frames each request wants.
_WANTED: Final = {
    RequestedQuality.GOOD: (Quality.GOOD,),
    RequestedQuality.ERRED: (Quality.ERRED,),
    RequestedQuality.ALL: tuple(Quality),
}
#: START's diagnostics.
_INVALID_START_TIME: Final = Refused(2)
_INVALID_STOP_TIME: Final = Refused(3)
_MISSING_TIME: Final = Refused(4)
_INVALID_CHANNEL: Final = Refused(5)


def channel_of(frame: bytes) -> Channel:
    """Of a TM (132.0-B §4.1.2) or AOS frame (732.0-B §4.1.2).  RemoteError: of another version."""
    head = int.from_bytes(frame[:2])
    version = head >> 14
    if len(frame) < 2 or version > 1:
        raise RemoteError(f"a frame of version {version}, TM or AOS wanted", data=frame[:6])
    if version == 0:
        return Channel(head >> 4 & 0x3FF, version, head >> 1 & 0x7)
    return Channel(head >> 6 & 0xFF, version, head & 0x3F)


class FrameService(Service):
    """One instance.

    mode: of delivery; buffer_size: frames and notifications in a transfer buffer; latency_s: how
    long one waits to be full (online); antenna: its local name; channels: of RCF, what may be asked
    for, empty: anything.
    """

    def __init__(
        self,
        service: ServiceType,
        identifier: str,
        *,
        mode: DeliveryMode = DeliveryMode.COMPLETE_ONLINE,
        buffer_size: int = 20,
        latency_s: int = 1,
        antenna: bytes = b"L4",
        channels: tuple[MasterChannel, ...] = (),
        **more: Any,
    ) -> None:
        super().__init__(service, identifier, **more)
        if service is ServiceType.CLTU or buffer_size < 1:
            raise LocalError(f"{service.name} with buffers of {buffer_size} frames")
        self.locks: dict[str, Lock] = dict.fromkeys(
            ("frame_sync", "symbol", "subcarrier", "carrier"), Lock.IN_LOCK
        )
        self.production = Production.RUNNING
        self.mode = mode
        self._buffer_size = buffer_size
        self._latency_s = latency_s
        self._antenna = local_antenna(antenna)
        self._channels = channels
        self._asked: frames.RafStart | frames.RcfStart | None = None
        self._buffer: list[Any] = []
        self._since_ns = 0
        self._good = self._delivered = 0

    # ------------------------------------------------------------ the owner's

    def deliver(
        self,
        now_ns: int,
        frame: bytes,
        ert_ns: int,
        *,
        quality: Quality = Quality.GOOD,
        continuity: int = 0,
    ) -> bool:
        """Whether it goes to a user: one has started, and wants such frames."""
        self._good += quality is Quality.GOOD
        if self.state is not State.ACTIVE or not self._wanted(frame, ert_ns, quality):
            return False
        assert self.provider is not None
        head = (self.provider.sign(now_ns), ert_ns, self._antenna, continuity)
        if self.service is ServiceType.RAF:
            entry: Any = frames.AnnotatedFrame(*head, quality, None, frame)
        else:
            entry = frames.ChannelFrame(*head, None, frame)
        self._delivered += 1
        self._put(now_ns, entry)
        return True

    def notify(self, now_ns: int, notification: Chosen) -> None:
        """SYNC-NOTIFY, in its place among the frames; see `frames.SyncNotify`."""
        if notification.name == "production":
            self.production = notification.value
        if notification.name == "backlog":
            # Timely delivery: what has not been sent is discarded, and this says so.
            self._buffer.clear()
        if self.state is State.ACTIVE:
            assert self.provider is not None
            self._put(now_ns, frames.SyncNotify(self.provider.sign(now_ns), notification))
            self.flush(now_ns)

    def _put(self, now_ns: int, entry: Any) -> None:
        if not self._buffer:
            self._since_ns = now_ns
        self._buffer.append(entry)
        if len(self._buffer) >= self._buffer_size:
            self.flush(now_ns)

    def flush(self, now_ns: int) -> None:
        """Send what is held."""
        if self._buffer and self.provider is not None:
            self.provider.send(now_ns, frames.TransferBuffer(tuple(self._buffer)))
        self._buffer.clear()

    def _wanted(self, frame: bytes, ert_ns: int, quality: Quality) -> bool:
        asked = self._asked
        assert asked is not None
        if asked.start_ns is not None and ert_ns < asked.start_ns:
            return False
        if asked.stop_ns is not None and ert_ns > asked.stop_ns:
            return False
        if isinstance(asked, frames.RafStart):
            return quality in _WANTED[asked.quality]
        try:
            found = channel_of(frame)
        except RemoteError:
            return False
        wanted = asked.channel
        return quality is Quality.GOOD and (
            (found.scid, found.version) == (wanted.scid, wanted.version)
            and wanted.vcid in (None, found.vcid)
        )

    # ------------------------------------------------------------ the service's

    def start(self, now_ns: int, pdu: Any) -> tuple[Callable[..., Any], Any]:
        refused = self.out_of_service or self._refusal(now_ns, pdu)
        if refused is None:
            self._asked = pdu
        return frames.FramesStartReturn, refused

    def _refusal(self, now_ns: int, pdu: frames.RafStart | frames.RcfStart) -> Refused | None:
        start_ns, stop_ns = pdu.start_ns, pdu.stop_ns
        offline = self.mode is DeliveryMode.OFFLINE
        if offline and (start_ns is None or stop_ns is None):
            return _MISSING_TIME
        if stop_ns is not None and (
            (start_ns is not None and stop_ns <= start_ns) or (not offline and stop_ns <= now_ns)
        ):
            return _INVALID_STOP_TIME
        if offline and start_ns is not None and start_ns > now_ns:
            return _INVALID_START_TIME
        if isinstance(pdu, frames.RcfStart) and not self._permitted(pdu.channel):
            return _INVALID_CHANNEL
        return None

    def _permitted(self, wanted: Channel) -> bool:
        return not self._channels or any(
            (one.scid, one.version) == (wanted.scid, wanted.version)
            and (one.vcids is None or wanted.vcid in one.vcids)
            for one in self._channels
        )

    def stopping(self, now_ns: int) -> None:
        self.flush(now_ns)

    def stopped(self) -> None:
        self._buffer.clear()
        self._asked = None

    def report(self, now_ns: int) -> None:
        states = (*self.locks.values(), self.production)
        if self.service is ServiceType.RAF:
            self._send(now_ns, frames.RafStatusReport, self._good, self._delivered, *states)
        else:
            self._send(now_ns, frames.RcfStatusReport, self._delivered, *states)

    def parameters(self) -> dict[Name, Any]:
        asked = self._asked
        values: dict[Name, Any] = {
            Name.BUFFER_SIZE: self._buffer_size,
            Name.DELIVERY_MODE: self.mode,
            Name.LATENCY_LIMIT: (
                None if self.mode is DeliveryMode.OFFLINE else max(self._latency_s, 1)
            ),
        }
        if self.service is ServiceType.RAF:
            values[Name.PERMITTED_FRAME_QUALITIES] = tuple(RequestedQuality)
            values[Name.REQUESTED_FRAME_QUALITY] = (
                asked.quality if isinstance(asked, frames.RafStart) else RequestedQuality.ALL
            )
        else:
            values[Name.PERMITTED_CHANNELS] = self._channels
            if isinstance(asked, frames.RcfStart):
                values[Name.REQUESTED_CHANNEL] = asked.channel
            elif self.version > 4:
                values[Name.REQUESTED_CHANNEL] = None
        return values

    def service_deadline_ns(self) -> int | None:
        return self._since_ns + self._latency_s * S_NS if self._buffer else None

    def service_timeout(self, now_ns: int) -> None:
        deadline_ns = self.service_deadline_ns()
        if deadline_ns is not None and deadline_ns <= now_ns:
            self.flush(now_ns)


__all__ = ["FrameService", "channel_of"]
