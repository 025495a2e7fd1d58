"""Every operation of the console's API, made from its routes by `make generate`.

Not edited by hand.  In brackets: the least role that may call it.  Answers are what JSON gives:
dicts and lists; times in them are UTC text (`…_utc`) or milliseconds since 1970.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Literal, cast
from urllib.parse import quote

from ground.client.instants import Instant
from ground.client.samples import Samples


class Calls:
    """What `Ground` can ask; how it asks is its own."""

    def _call(
        self,
        method: str,
        path: str,
        query: dict[str, Any] | None = None,
        body: dict[str, Any] | None = None,
    ) -> Any:
        raise NotImplementedError

    def _unix_ms(self, instant: Instant) -> float:
        raise NotImplementedError

    def _tai_ns(self, instant: Instant) -> int:
        raise NotImplementedError

    def set_up(self, token: str, name: str, password: str) -> Any:
        """First administrator. (anybody)"""
        return self._call(
            "POST", "/setup", body={"token": token, "name": name, "password": password}
        )

    def session(self) -> Any:
        """Who is signed in, and the CSRF token. (viewer)"""
        return self._call("GET", "/session")

    def people(self) -> Any:
        """Who may sign in. (admin)"""
        return self._call("GET", "/people")

    def add_person(
        self, name: str, role: Literal["viewer", "operator", "approver", "admin"], password: str
    ) -> Any:
        """Somebody more. (admin)"""
        return self._call(
            "POST", "/people", body={"name": name, "role": role, "password": password}
        )

    def set_person_role(
        self, name: str, role: Literal["viewer", "operator", "approver", "admin"]
    ) -> Any:
        """Another role. (admin)"""
        return self._call("PUT", f"/people/{quote(name, safe='')}/role", body={"role": role})

    def set_person_password(self, name: str, password: str) -> Any:
        """Another password. (admin)"""
        return self._call(
            "PUT", f"/people/{quote(name, safe='')}/password", body={"password": password}
        )

    def remove_person(self, name: str) -> Any:
        """Somebody less. (admin)"""
        return self._call("DELETE", f"/people/{quote(name, safe='')}")

    def set_session_password(self, password: str) -> Any:
        """One's own password. (viewer)"""
        return self._call("PUT", "/session/password", body={"password": password})

    def audit(self, last: int = 50, before: int = 0) -> Any:
        """Who did what, newest first. (admin)"""
        return self._call("GET", "/audit", query={"last": last, "before": before})

    def now(self) -> Any:
        """Clock, link, on-board clock, services. (viewer)"""
        return self._call("GET", "/now")

    def telemetry(self) -> Any:
        """Newest live value of every parameter, by packet. (viewer)"""
        return self._call("GET", "/telemetry")

    def subsystems(self) -> Any:
        """Packets of each subsystem. (viewer)"""
        return self._call("GET", "/subsystems")

    def events(self) -> Any:
        """Newest events, newest last. (viewer)"""
        return self._call("GET", "/events")

    def alarms(self) -> Any:
        """Alarms, worst first. (viewer)"""
        return self._call("GET", "/alarms")

    def acknowledge_alarm(self, name: str) -> Any:
        """Seen. (operator)"""
        return self._call("POST", f"/alarms/{quote(name, safe='')}/acknowledge")

    def shelve_alarm(self, name: str, minutes: int, reason: str) -> Any:
        """Put aside for a while. (operator)"""
        return self._call(
            "POST",
            f"/alarms/{quote(name, safe='')}/shelve",
            body={"minutes": minutes, "reason": reason},
        )

    def unshelve_alarm(self, name: str) -> Any:
        """Back. (operator)"""
        return self._call("POST", f"/alarms/{quote(name, safe='')}/unshelve")

    def passes(self) -> Any:
        """Published passes. (viewer)"""
        return self._call("GET", "/passes")

    def publish_pass(
        self, antenna: str, begin: Instant, end: Instant, version: int, why: str
    ) -> Any:
        """Publish a pass. (operator)"""
        return self._call(
            "POST",
            "/passes",
            body={
                "antenna": antenna,
                "begin": self._unix_ms(begin),
                "end": self._unix_ms(end),
                "version": version,
                "why": why,
            },
        )

    def link(self) -> Any:
        """Counts of the downlink. (viewer)"""
        return self._call("GET", "/link")

    def antennas(self) -> Any:
        """Of several: each. (viewer)"""
        return self._call("GET", "/antennas")

    def radios(self) -> Any:
        """Receivers: locks, Eb/N0, spectrum, constellation. (viewer)"""
        return self._call("GET", "/radios")

    def relay(self) -> Any:
        """The site's bundle node. (viewer)"""
        return self._call("GET", "/relay")

    def relay_held(self) -> Any:
        """Bundles held. (viewer)"""
        return self._call("GET", "/relay/held")

    def relay_contacts(self) -> Any:
        """Contact plan. (viewer)"""
        return self._call("GET", "/relay/contacts")

    def layouts(self) -> Any:
        """Saved layouts. (viewer)"""
        return self._call("GET", "/layouts")

    def save_layout(self, name: str, body: str) -> Any:
        """Save a layout. (viewer)"""
        return self._call("PUT", f"/layouts/{quote(name, safe='')}", body={"body": body})

    def parameters(self) -> Any:
        """What the archive holds. (viewer)"""
        return self._call("GET", "/parameters")

    def packets(self, start: Instant, stop: Instant, apid: int = -1, last: int = 100) -> Any:
        """Archived packets, octets and fields. (viewer)"""
        return self._call(
            "GET",
            "/packets",
            query={
                "from": self._unix_ms(start),
                "to": self._unix_ms(stop),
                "apid": apid,
                "last": last,
            },
        )

    def archived_events(self, start: Instant, stop: Instant) -> Any:
        """Events by time. (viewer)"""
        return self._call(
            "GET",
            "/archived-events",
            query={"from": self._unix_ms(start), "to": self._unix_ms(stop)},
        )

    def plot(
        self,
        name: str,
        start: Instant,
        stop: Instant,
        points: int = 1600,
        axis: Literal["scet", "ert"] = "scet",
    ) -> Any:
        """A parameter with the least and greatest of bins. (viewer)"""
        return self._call(
            "GET",
            "/plot",
            query={
                "name": name,
                "from": self._unix_ms(start),
                "to": self._unix_ms(stop),
                "points": points,
                "axis": axis,
            },
        )

    def export(
        self, name: str, start: Instant, stop: Instant, format: Literal["csv", "parquet"] = "csv"
    ) -> bytes:
        """Every sample of a parameter as a file. (viewer)"""
        return cast(
            bytes,
            self._call(
                "GET",
                "/export",
                query={
                    "name": name,
                    "from": self._unix_ms(start),
                    "to": self._unix_ms(stop),
                    "format": format,
                },
            ),
        )

    def commands(self) -> Any:
        """The command dictionary. (viewer)"""
        return self._call("GET", "/commands")

    def requests(self, last: int = 50) -> Any:
        """Requests, oldest first. (viewer)"""
        return self._call("GET", "/requests", query={"last": last})

    def add_request(
        self,
        command: str,
        arguments: Mapping[str, str] | None = None,
        earliest: str = "",
        latest: str = "",
        expedited: bool = False,
        comment: str = "",
    ) -> Any:
        """Put a command on the stack. (operator)"""
        return self._call(
            "POST",
            "/requests",
            body={
                "command": command,
                "arguments": arguments or {},
                "earliest": earliest,
                "latest": latest,
                "expedited": expedited,
                "comment": comment,
            },
        )

    def request(self, number: int) -> Any:
        """All of one. (viewer)"""
        return self._call("GET", f"/requests/{number}")

    def arm_request(self, number: int) -> Any:
        """Arm a request. (operator)"""
        return self._call("POST", f"/requests/{number}/arm")

    def disarm_request(self, number: int) -> Any:
        """Disarm a request. (operator)"""
        return self._call("POST", f"/requests/{number}/disarm")

    def send_request(self, number: int) -> Any:
        """Send a request. (operator)"""
        return self._call("POST", f"/requests/{number}/send")

    def remove_request(self, number: int) -> Any:
        """Remove a request. (operator)"""
        return self._call("POST", f"/requests/{number}/remove")

    def repeat_request(self, number: int) -> Any:
        """Repeat a request. (operator)"""
        return self._call("POST", f"/requests/{number}/repeat")

    def close_request(self, number: int, reason: str = "") -> Any:
        """Close a request. (operator)"""
        return self._call("POST", f"/requests/{number}/close", body={"reason": reason})

    def approve_request(self, number: int) -> Any:
        """Approve a request. (approver)"""
        return self._call("POST", f"/requests/{number}/approve")

    def reject_request(self, number: int, reason: str = "") -> Any:
        """Reject a request. (approver)"""
        return self._call("POST", f"/requests/{number}/reject", body={"reason": reason})

    def cop1(self) -> Any:
        """Uplink window, light time, COP-1. (viewer)"""
        return self._call("GET", "/cop1")

    def direct_cop1(
        self,
        directive: Literal["initiate", "unlock", "set-vr", "terminate"],
        value: int | None = None,
    ) -> Any:
        """A directive of COP-1. (operator)"""
        return self._call("POST", "/cop1", body={"directive": directive, "value": value})

    def keys(self) -> Any:
        """Keys and associations, by number. (viewer)"""
        return self._call("GET", "/keys")

    def procedures(self) -> Any:
        """Operators' procedures. (viewer)"""
        return self._call("GET", "/procedures")

    def runs(self, last: int = 50) -> Any:
        """Runs. (viewer)"""
        return self._call("GET", "/runs", query={"last": last})

    def start_run(
        self, procedure: str, arguments: Mapping[str, Any] | None = None, step: bool = False
    ) -> Any:
        """Start a procedure. (operator)"""
        return self._call(
            "POST",
            "/runs",
            body={"procedure": procedure, "arguments": arguments or {}, "step": step},
        )

    def run(self, number: int) -> Any:
        """A run with its records. (viewer)"""
        return self._call("GET", f"/runs/{number}")

    def change_run(
        self,
        number: int,
        action: Literal["pause", "resume", "step", "abort", "answer"],
        choice: str = "",
        reason: str = "",
    ) -> Any:
        """Pause, resume, step, abort, answer. (operator)"""
        return self._call(
            "POST", f"/runs/{number}", body={"action": action, "choice": choice, "reason": reason}
        )

    def passes_views(self) -> Any:
        """When antennas see the spacecraft, and what is free of that. (viewer)"""
        return self._call("GET", "/passes/views")

    def try_pass(self, antenna: str, begin: Instant, end: Instant) -> Any:
        """What if there were this pass; nothing is written. (operator)"""
        return self._call(
            "POST",
            "/passes/try",
            body={"antenna": antenna, "begin": self._unix_ms(begin), "end": self._unix_ms(end)},
        )

    def files(self) -> Any:
        """Transfers, the newest first. (viewer)"""
        return self._call("GET", "/files")

    def send_file(self, name: str, content: bytes, class_: int = 2) -> Any:
        """Send a file. (operator)"""
        return self._call(
            "POST",
            "/files",
            body={"name": name, "content": b64encode(content).decode(), "class": class_},
        )

    def fetch_file(self, name: str, as_: str = "", class_: int = 2) -> Any:
        """Ask the spacecraft for a file. (operator)"""
        return self._call("POST", "/files/fetch", body={"name": name, "as": as_, "class": class_})

    def file_content(self, id: str) -> bytes:
        """A file that was received. (viewer)"""
        return cast(bytes, self._call("GET", f"/files/{quote(id, safe='')}/content"))

    def suspend_file(self, id: str) -> Any:
        """Send nothing of a transfer for now. (operator)"""
        return self._call("POST", f"/files/{quote(id, safe='')}/suspend")

    def resume_file(self, id: str) -> Any:
        """Go on with it. (operator)"""
        return self._call("POST", f"/files/{quote(id, safe='')}/resume")

    def cancel_file(self, id: str) -> Any:
        """End a transfer. (operator)"""
        return self._call("POST", f"/files/{quote(id, safe='')}/cancel")

    def samples(
        self,
        name: str,
        start: Instant | None = None,
        stop: Instant | None = None,
        axis: Literal["scet", "ert"] = "scet",
    ) -> Samples:
        """Every sample of a parameter from an instant up to another, in their order: an Arrow
        stream of scet_ns, ert_ns (TAI) and value (null: invalid). (viewer)"""
        return cast(
            Samples,
            self._call(
                "GET",
                "/samples",
                query={
                    "name": name,
                    **({} if start is None else {"from_ns": self._tai_ns(start)}),
                    **({} if stop is None else {"to_ns": self._tai_ns(stop)}),
                    "axis": axis,
                },
            ),
        )

    def tokens(self) -> Any:
        """Tokens of scripts; admin: everybody's. (viewer)"""
        return self._call("GET", "/tokens")

    def add_token(
        self,
        label: str,
        role: Literal["viewer", "operator", "approver", "admin"] = "viewer",
        days: int = 90,
    ) -> Any:
        """A token of one's own, told this once. (viewer)"""
        return self._call("POST", "/tokens", body={"label": label, "role": role, "days": days})

    def revoke_token(self, number: int) -> Any:
        """Revoke a token. (viewer)"""
        return self._call("DELETE", f"/tokens/{number}")
