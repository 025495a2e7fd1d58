"""CCSDS Space Link Extension: `sle-raf://`, `sle-rcf://` and `sle-cltu://`, the user's end.

Frames come with their Earth receive time and with what was missed before them; CLTUs go up.  What
the provider says of its production and locks is the adapter's detail.  In `l4 run` one radio does
both ways, so that those of frames take a CLTU service along (`cltu`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final

from ground.adapters.radio.adapter import Adapter, Block, Loss, Malformed, Result
from ground.adapters.radio.address import Address, Option, choice, count, options
from ground.adapters.radio.octets import FRAME_LENGTH
from ground.adapters.radio.peer import Peer
from ground.adapters.radio.sle_association import Association, security
from ground.adapters.radio.sle_uplink import CltuUplink, SideUplink
from protocols.errors import LocalError, RemoteError
from protocols.sle import common, frames
from protocols.sle.common import ServiceType
from protocols.sle.credentials import Hash, Level, Security
from protocols.sle.frames import Quality, RequestedQuality
from protocols.sle.parameters import Channel
from protocols.sle.tml import Heartbeat
from protocols.sle.user import Binding, Discarded, User
from protocols.timecodes.tai import tai_ns_from_utc_iso

#: Where the file of passwords is named if the address does not.
ENVIRONMENT: Final = "L4_SLE_CREDENTIALS"

_COMMON: Final = {
    "instance": Option(str, "", "service instance, as sagr=1.spack=PASS-7.rsl-fg=1.raf=onlc1"),
    "user": Option(str, "L4RG", "our authority identifier, 3 to 16 letters"),
    "provider": Option(str, "", "the provider's; empty: whoever answers (auth=none)"),
    "port": Option(str, "SLE", "the provider's logical name of the port"),
    "version": Option(count, 4, "of the service, 2 to 5"),
    "auth": Option(Level, Level.NONE, "which PDUs carry credentials: none, bind or all"),
    "credentials": Option(str, "", f"file of the passwords; else what {ENVIRONMENT} names"),
    "hash": Option(Hash, Hash.SHA_256, "of credentials: sha-256, or sha-1 as before 913.1-B-2"),
    "heartbeat": Option(count, 25, "seconds between heartbeats, 0: none"),
    "dead": Option(count, 5, "so many of them in silence: the connection is lost"),
    "patience": Option(count, 10, "seconds that a return may take"),
    "report": Option(count, 60, "seconds between status reports of the provider, 0: none"),
}
_DELAY: Final = Option(count, 0, "microseconds that the station is to pause after a CLTU")
_UP: Final = {
    "cltu": Option(str, "", "service instance of a forward CLTU service to transmit by"),
    "cltu_at": Option(str, "", "HOST:PORT of that; empty: the same"),
    "cltu_port": Option(str, "", "the provider's logical name of that port; empty: the same"),
    "delay": _DELAY,
}
_FRAMES: Final = dict(
    frame_length=FRAME_LENGTH,
    carries=Option(choice("frames"), "frames", "frames, without sync markers"),
    **{
        "from": Option(tai_ns_from_utc_iso, None, "first Earth receive time, UTC; offline: wanted"),
        "to": Option(tai_ns_from_utc_iso, None, "last Earth receive time, UTC; offline: wanted"),
    },
)


def channel(text: str) -> Channel:
    """As 0.123.4: transfer frame version, spacecraft, virtual channel; without it all of them."""
    version, scid, *vcid = (int(part) for part in text.split("."))
    if len(vcid) > 1 or not (0 <= version <= 3 and 0 <= scid <= 1023):
        raise ValueError(text)
    return Channel(scid, version, vcid[0] if vcid else None)


class _Sle(Adapter):
    """What the three have in common: the association's settings."""

    SERVICE: ClassVar[ServiceType]

    def __init__(self, address: Address | str, **more: Any) -> None:
        super().__init__(address, **more)
        chosen = self.options
        if not chosen["instance"]:
            raise LocalError(f"{self.address.text}: {self.OPTIONS['instance'].help} is missing")
        self._security: Security = security(
            chosen["user"],
            chosen["provider"],
            level=chosen["auth"],
            algorithm=chosen["hash"],
            credentials=chosen["credentials"] or os.environ.get(ENVIRONMENT, ""),
        )
        self._heartbeat = Heartbeat(chosen["heartbeat"], chosen["dead"])
        for instance in filter(None, (chosen["instance"], chosen.get("cltu"))):
            self._binding(instance, chosen["port"])

    def _binding(self, instance: str, port: str) -> Binding:
        """LocalError: the instance or the version makes no sense."""
        return Binding(
            instance=instance,
            port=port,
            version=self.options["version"],
            return_s=self.options["patience"],
        )

    def _association(
        self,
        service: ServiceType,
        at: tuple[str, int],
        instance: str,
        port: str,
        start: Any,
    ) -> Association:
        return Association(
            service, at, self._binding(instance, port), self._security, self._heartbeat, start
        )

    def _ask_for_reports(self, association: Association) -> None:
        """Of the state now, and from time to time."""
        cycle = self.options["report"]
        if cycle:
            association.invoke(lambda user, now: user.schedule_status_report(now, cycle))


class _FramesAdapter(_Sle):
    """Frames, each a block."""

    FRAMED = True
    WAITS = True
    TRANSMITS = True

    _down: Association | None = None
    _uplink: CltuUplink | None = None
    _up: SideUplink | None = None

    @property
    def transmits(self) -> bool:
        return bool(self.options["cltu"])

    def connect(self) -> None:
        chosen, at = self.options, self.address.host_and_port()
        self._ended = False
        self._damage: RemoteError | None = None
        self._said = {"": "", "uplink": ""}
        self._down = self._association(
            self.SERVICE, at, chosen["instance"], chosen["port"], self._start
        )
        self._down.open()
        self._ask_for_reports(self._down)
        if self.transmits:
            say = partial(self._tell, "uplink")
            self._uplink = self._uplink or _uplink(self, chosen["cltu"], chosen["cltu_port"], say)
            self._up = SideUplink(self._uplink, self._policy, say, self._ask_for_reports)

    def _start(self, user: User, now_ns: int) -> int:
        raise NotImplementedError

    def disconnect(self) -> Sequence[Result]:
        up, self._up = self._up, None
        if up is not None:
            up.close()
        down, self._down = self._down, None
        last = down.close() if down is not None else ()
        return [result for pdu in last for result in self._results(pdu)]

    def attend(self) -> None:
        assert self._down is not None
        # Frames are not read while nobody takes them; but heartbeats go out.
        self._down.beat()

    def read(self, timeout_s: float) -> Sequence[Result]:
        assert self._down is not None
        if self._damage is not None:
            raise self._damage
        if self._ended:
            raise EOFError("the provider has no more data")
        results: list[Result] = []
        try:
            for pdu in self._down.exchange(timeout_s):
                results += self._results(pdu)
        except RemoteError as error:
            if not error.data:
                raise
            # What came is counted first; the association is lost with the next read.
            self._damage = error
            return (Malformed(error.data, str(error)),)
        return results

    def _results(self, pdu: Any) -> Sequence[Result]:
        if isinstance(pdu, frames.AnnotatedFrame | frames.ChannelFrame):
            return self._frame(pdu)
        if isinstance(pdu, Discarded):
            return (Malformed(pdu.octets, pdu.why),)
        if isinstance(pdu, frames.SyncNotify):
            name, value = pdu.notification
            if name == "backlog":
                self._tell("", "the provider has discarded frames: they were not taken in time")
                return (Loss("overflow"),)
            if name == "end_of_data":
                self._ended = True
            elif name == "production":
                self._tell("", f"production {value.name.lower()}")
            else:
                self._tell("", f"frame synchronisation is lost; {_locks(value)}")
        elif isinstance(pdu, frames.RafStatusReport | frames.RcfStatusReport):
            self._tell(
                "",
                f"production {pdu.production.name.lower()}, frames "
                f"{_lock(pdu.frame_sync)}; {_locks(pdu)}; {pdu.delivered_frames} delivered",
            )
        elif isinstance(pdu, common.ScheduleStatusReportReturn) and pdu.result is not None:
            self._tell("", f"no status reports: {pdu.result}")
        return ()

    def _frame(self, pdu: frames.AnnotatedFrame | frames.ChannelFrame) -> Sequence[Result]:
        lost = (Loss("gap", pdu.continuity),) if pdu.continuity > 0 else ()
        wanted = self.options["frame_length"]
        if isinstance(pdu, frames.AnnotatedFrame) and pdu.quality is Quality.ERRED:
            return (*lost, Malformed(pdu.data, "a frame with errors"))
        if wanted and len(pdu.data) != wanted:
            why = f"a frame of {len(pdu.data)} octets, {wanted} wanted"
            return (*lost, Malformed(pdu.data, why))
        return (*lost, Block(pdu.data, pdu.ert_ns))

    def takes(self, octets: int) -> bool:
        up = self._up
        return super().takes(octets) and up is not None and up.takes(octets)

    def write(self, octets: bytes) -> bool:
        assert self._up is not None
        return self._up.send(octets)

    def _tell(self, way: str, what: str) -> None:
        """Both ways stand side by side: what one says hides nothing of the other."""
        self._said[way] = what
        self.say("; ".join(f"{way} {what}".strip() for way, what in self._said.items() if what))

    def _times(self) -> dict[str, int | None]:
        return {"start_ns": self.options["from"], "stop_ns": self.options["to"]}


def _lock(lock: frames.Lock) -> str:
    return lock.name.lower().replace("_", " ")


def _locks(report: Any) -> str:
    return (
        f"carrier {_lock(report.carrier)}, subcarrier {_lock(report.subcarrier)}, "
        f"symbols {_lock(report.symbol)}"
    )


class SleRafAdapter(_FramesAdapter):
    """Return all frames."""

    SUMMARY = "SLE return all frames (911.1-B), CLTUs up where asked for"
    ADDRESS = "sle-raf://HOST:PORT?instance=…"
    SERVICE = ServiceType.RAF
    OPTIONS: ClassVar[Mapping[str, Option]] = options(
        **_COMMON,
        **_FRAMES,
        quality=Option(
            choice("good", "all"), "good", "good; all: also those with errors, as malformed"
        ),
        **_UP,
    )

    def _start(self, user: User, now_ns: int) -> int:
        quality = RequestedQuality[self.options["quality"].upper()]
        return user.start_raf(now_ns, quality=quality, **self._times())

    @classmethod
    def peer(cls) -> Peer:
        from ground.adapters.radio.sle_peer import SlePeer

        return SlePeer("sle-raf")


class SleRcfAdapter(_FramesAdapter):
    """Return channel frames."""

    SUMMARY = "SLE return channel frames (911.2-B), CLTUs up where asked for"
    ADDRESS = "sle-rcf://HOST:PORT?instance=…&channel=VERSION.SCID.VCID"
    SERVICE = ServiceType.RCF
    OPTIONS: ClassVar[Mapping[str, Option]] = options(
        **_COMMON,
        **_FRAMES,
        channel=Option(
            channel, None, "transfer frame version, spacecraft, virtual channel: 0.123.4, or 0.123"
        ),
        **_UP,
    )

    def __init__(self, address: Address | str, **more: Any) -> None:
        super().__init__(address, **more)
        if self.options["channel"] is None:
            raise LocalError(f"{self.address.text}: channel=VERSION.SCID.VCID is missing")

    def _start(self, user: User, now_ns: int) -> int:
        return user.start_rcf(now_ns, self.options["channel"], **self._times())

    @classmethod
    def peer(cls) -> Peer:
        from ground.adapters.radio.sle_peer import SlePeer

        return SlePeer("sle-rcf")


class SleCltuAdapter(_Sle):
    """Forward CLTU: a block is a CLTU."""

    SUMMARY = "SLE forward CLTU (912.1-B)"
    ADDRESS = "sle-cltu://HOST:PORT?instance=…"
    SERVICE = ServiceType.CLTU
    OPTIONS: ClassVar[Mapping[str, Option]] = options(**_COMMON, delay=_DELAY)
    FRAMED = True
    RECEIVES = False
    TRANSMITS = True

    _up: CltuUplink | None = None

    def connect(self) -> None:
        self._up = self._up or _uplink(
            self,
            self.options["instance"],
            self.options["port"],
            lambda what: self.say(f"uplink {what}"),
        )
        self._up.association.open()
        self._ask_for_reports(self._up.association)

    def disconnect(self) -> None:
        if self._up is not None:
            self._up.association.close()

    def attend(self) -> None:
        assert self._up is not None
        self._up.attend()

    def read(self, timeout_s: float) -> Sequence[Result]:
        raise NotImplementedError

    def takes(self, octets: int) -> bool:
        up = self._up
        return super().takes(octets) and up is not None and up.takes(octets)

    def write(self, octets: bytes) -> bool:
        assert self._up is not None
        return self._up.send(octets)

    @classmethod
    def peer(cls) -> Peer:
        from ground.adapters.radio.sle_peer import SlePeer

        return SlePeer("sle-cltu")


def _uplink(adapter: _Sle, instance: str, port: str, say: Callable[[str], None]) -> CltuUplink:
    chosen = adapter.options
    at = adapter.address
    if chosen.get("cltu_at"):
        at = Address(at.text, at.scheme, chosen["cltu_at"], {})
    uplink: CltuUplink

    def start(user: User, now_ns: int) -> int:
        return user.start_cltu(now_ns, uplink.next_cltu)

    association = adapter._association(
        ServiceType.CLTU, at.host_and_port(), instance, port or chosen["port"], start
    )
    uplink = CltuUplink(association, say, delay_us=chosen["delay"])
    return uplink


__all__ = ["SleCltuAdapter", "SleRafAdapter", "SleRcfAdapter", "channel"]
