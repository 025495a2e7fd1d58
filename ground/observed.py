"""A service as seen from outside: its health, its metrics, its supervisor, its log.

Everything is taken from what the service publishes: `ZmqBus` calls `published` with each message.
That a status comes, about once a second and from the service's own loop, is the heartbeat that
`/healthz`, systemd's watchdog and the supervisor of `l4 run` share.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from ground.metrics import (
    CONTENT_TYPE,
    Sample,
    exposition,
    link_samples,
    passes_samples,
    process_samples,
    status_samples,
    time_samples,
)
from ground.ports import Clock, LinkState, Message
from protocols.bus.messages import (
    LinkMessage,
    PassesMessage,
    ServiceState,
    StatusMessage,
    TimeMessage,
    parse,
)
from protocols.identifiers import Topic

#: A loop that has said nothing for so long hangs, wall seconds: a status is due every second.
HEARTBEAT_S = 15.0

#: Ready for work, or as good as that: what it waits for is somebody else's.
_READY = (ServiceState.RUNNING, ServiceState.WAITING)
_STATES = (Topic.PASSES, Topic.TIME)
#: A link that is as it should be: what it brings is another question, and between passes nothing.
_LINK_WELL = (LinkState.OK, LinkState.DISABLED)


class Notify(Protocol):
    def tell(self, *lines: str) -> bool: ...


class Observed:
    """One service of one run.  `published` is called by its loop, the rest by any thread.

    told: what else is called with each message, in the loop: log, traces.
    """

    def __init__(
        self,
        service: str,
        run_dir: Path,
        clock: Clock,
        notifier: Notify,
        told: Sequence[Callable[[Message], None]] = (),
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self.service = service
        self._run_dir = run_dir
        self._clock = clock
        self._notifier = notifier
        self._told = told
        self._heartbeat_s = heartbeat_s
        self._version = version("l4-relay-ground")
        self._started_unix_s = time.time()
        self._started_ns = clock.now_ns()
        self._began_s = time.monotonic()
        self._status: StatusMessage | None = None
        self._heard_s = self._began_s
        self._last: dict[str, bytes] = {}
        #: What was said of the link last and when, and when last that it was well.
        self._link: tuple[LinkMessage, float] | None = None
        self._link_well_s = self._began_s
        self._ready = False

    def published(self, message: Message) -> None:
        if message.topic.startswith(Topic.STATUS):
            self._heartbeat(parse(StatusMessage, message.body))
        elif message.topic in _STATES:
            self._last[message.topic] = message.body
        elif message.topic.partition(".")[0] == Topic.LINK:
            self._hear_link(parse(LinkMessage, message.body))
        for tell in self._told:
            tell(message)

    def _hear_link(self, link: LinkMessage) -> None:
        now_s = time.monotonic()
        if self._link is None or link.state in _LINK_WELL:
            self._link_well_s = now_s
        self._link = link, now_s

    def _heartbeat(self, status: StatusMessage) -> None:
        before, self._status = self._status, status
        self._heard_s = time.monotonic()
        lines = ["WATCHDOG=1"]
        if status.state in _READY and not self._ready:
            self._ready = True
            lines.append("READY=1")
        if status.state == ServiceState.STOPPED:
            lines.append("STOPPING=1")
        if before is None or (before.state, before.detail) != (status.state, status.detail):
            detail = " ".join(status.detail.split())
            lines.append(f"STATUS={status.state}" + f": {detail}" * bool(detail))
        self._notifier.tell(*lines)

    # ------------------------------------------------------------ from other threads

    def health(self) -> dict[str, Any]:
        """reason: why it is not healthy, empty if it is.  A link that is lost for longer than a
        heartbeat may be is a reason; one that brings nothing, as between passes, is none."""
        status, age_s = self._status, time.monotonic() - self._heard_s
        state, detail = ("starting", "") if status is None else (status.state, status.detail)
        reason = ""
        if state != ServiceState.RUNNING:
            reason = f"{state}: {detail}" if detail else str(state)
        elif age_s > self._heartbeat_s:
            reason = f"its loop has not turned for {age_s:.1f} s, {self._heartbeat_s:g} s allowed"
        elif (link := self._link_now()) is not None and link.state not in _LINK_WELL:
            lost_s = time.monotonic() - self._link_well_s
            if lost_s > self._heartbeat_s:
                reason = f"link {link.link} {link.state} for {lost_s:.1f} s: {link.detail}"
        return {
            "service": self.service,
            "run_dir": str(self._run_dir),
            "healthy": not reason,
            "reason": reason,
            "state": str(state),
            "detail": detail,
            "heartbeat_age_s": round(age_s, 3),
        }

    def _link_now(self) -> LinkMessage | None:
        """As it was said last, unless that is too long ago: several antennas' receivers say it."""
        if self._link is None:
            return None
        link, heard_s = self._link
        if time.monotonic() - heard_s <= self._heartbeat_s:
            return link
        detail = "nothing is said of it any more"
        return replace(link, state=LinkState.UNAVAILABLE, detail=detail, carrier=False)

    def metrics(self) -> str:
        return exposition(self._samples(), service=self.service)

    def _samples(self) -> Iterator[Sample]:
        health = self.health()
        yield Sample("l4_build_info", 1, {"version": self._version})
        yield Sample("l4_service_healthy", health["healthy"])
        yield Sample("l4_service_heartbeat_age_seconds", health["heartbeat_age_s"])
        if (status := self._status) is not None:
            yield from status_samples(status)
        last, now_ns = dict(self._last), self._clock.now_ns()
        if (link := self._link_now()) is not None:
            yield from link_samples(link, now_ns, self._started_ns)
        if Topic.PASSES in last:
            yield from passes_samples(parse(PassesMessage, last[Topic.PASSES]), now_ns)
        if Topic.TIME in last:
            yield from time_samples(parse(TimeMessage, last[Topic.TIME]), now_ns)
        yield from process_samples(self._run_dir, self._started_unix_s)

    def healthz_text(self) -> tuple[bool, str]:
        health = self.health()
        return health["healthy"], json.dumps(health) + "\n"


__all__ = ["CONTENT_TYPE", "HEARTBEAT_S", "Observed"]
