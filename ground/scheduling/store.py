"""Versions of schedules in one SQLite file: what-if branches, publishing, audit.

    store = ScheduleStore.open(Path("var/schedule.sqlite"))
    store.create(problem, schedule, actor, "first week", now_ns)
    store.branch("dss-25-lost", actor, "what if it stays down", now_ns)
    seen = store.read("dss-25-lost")
    store.commit("dss-25-lost", problem, replanned, actor, "why", now_ns, parent=seen.info.id)
    store.publish("dss-25-lost", actor, "DSS-25 is down until Sunday", now_ns)

A version is a problem with a schedule; it is never changed.  A branch is a name for its latest
version; `published` is the one that all agencies share.  Each change is one durable transaction
that also writes who did it, when and why.  `parent`, the version that an edit began from, keeps
one writer from undoing what another committed in between.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ground.scheduling.diff import Difference, diff
from ground.scheduling.model import Problem, Schedule, Track
from ground.scheduling.requests import build_problem, parse_requests, request_file, write_requests
from ground.scheduling.rules import violations
from ground.scheduling.versions import (
    Actor,
    NotAllowedError,
    check_allowed,
    check_past,
    merged,
    own_part,
    view_of,
)
from ground.sqlite_file import open_file
from protocols.errors import LocalError

PUBLISHED = "published"
_FORMAT = 1
_SCHEMA = """
CREATE TABLE problem (hash TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE version (
    id INTEGER PRIMARY KEY, parent INTEGER REFERENCES version, branch TEXT NOT NULL,
    time_ns INTEGER NOT NULL, actor TEXT NOT NULL, agency TEXT NOT NULL, why TEXT NOT NULL,
    problem TEXT NOT NULL REFERENCES problem, tracks BLOB NOT NULL) STRICT;
CREATE TABLE branch (name TEXT PRIMARY KEY, head INTEGER NOT NULL REFERENCES version) STRICT;
CREATE TABLE audit (
    id INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, actor TEXT NOT NULL, agency TEXT NOT NULL,
    branch TEXT NOT NULL, version INTEGER, action TEXT NOT NULL, why TEXT NOT NULL,
    request TEXT NOT NULL, detail TEXT NOT NULL) STRICT;
CREATE INDEX audit_request ON audit (request);
"""


@dataclass(frozen=True)
class VersionInfo:
    id: int
    parent: int | None
    branch: str
    time_ns: int
    actor: Actor
    why: str


@dataclass(frozen=True)
class Version:
    info: VersionInfo
    problem: Problem
    schedule: Schedule


@dataclass(frozen=True)
class AuditEntry:
    """`action`: create, branch, commit, publish, lock, unlock; or, per request, `track` (moved …)
    and `request` (edited, added, removed); `detail` says what."""

    time_ns: int
    actor: Actor
    branch: str
    version: int | None
    action: str
    why: str
    request: str
    detail: str


class ScheduleStore:
    """One file; may be opened by several processes, which write one after another."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._db = connection

    @classmethod
    def open(cls, path: Path | str) -> ScheduleStore:
        """Makes the file if it is not there.  LocalError if it is another kind of file."""
        path = Path(path)
        return cls(path, open_file(path, _SCHEMA, _FORMAT, "schedules"))

    def __enter__(self) -> ScheduleStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    # Writing

    def create(
        self, problem: Problem, schedule: Schedule, actor: Actor, why: str, now_ns: int
    ) -> VersionInfo:
        """The first published version.  LocalError if there is one, or rules are broken."""
        if actor.agency:
            raise NotAllowedError(f"{actor}: a network scheduler begins the common schedule")
        _check_rules(problem, schedule)
        with self._transaction():
            if self._head(PUBLISHED) is not None:
                raise LocalError(f"{self.path}: there is a published schedule; commit to a branch")
            info = self._insert(PUBLISHED, None, problem, schedule, actor, why, now_ns)
            self._audit(info, "create", f"{problem.name}, {len(schedule.tracks)} tracks")
        return info

    def branch(
        self, name: str, actor: Actor, why: str, now_ns: int, source: str = PUBLISHED
    ) -> VersionInfo:
        """A what-if branch that begins as `source` (a branch or a version's number)."""
        with self._transaction():
            return self._begin(name, self._resolve(source), actor, why, now_ns)

    def commit(
        self,
        branch: str,
        problem: Problem,
        schedule: Schedule,
        actor: Actor,
        why: str,
        now_ns: int,
        parent: int | None = None,
        begin: bool = False,
    ) -> VersionInfo:
        """The next version of a what-if branch.

        An agency brings in what it got from `read`: its own requests and tracks; the rest stays as
        it is on the branch.  Rules may still be broken: `publish` wants them kept.

        `parent` is the version that the edit was made from.  None replaces whatever is there: only
        for an edit that takes nothing from the branch.  With `begin` the branch is new and begins
        at `parent` (default: published), in the same transaction.

        Raises NotAllowedError (another agency's request or track), LocalError (no such branch; what
        the actor brings in has changed on the branch since `parent`).
        """
        if branch == PUBLISHED:
            raise LocalError("published is changed by publish: commit to a branch first")
        with self._transaction():
            if begin:
                source = self._resolve(PUBLISHED if parent is None else str(parent))
                self._begin(branch, source, actor, why, now_ns)
            head = self._version(self._resolve(branch))
            if parent is not None and parent != head.info.id:
                self._check_unmoved(branch, self._version(self._resolve(str(parent))), head, actor)
            whole, tracks = merged(head.problem, head.schedule, actor, problem, schedule)
            return self._commit(branch, head, whole, tracks, actor, why, now_ns, "commit")

    def publish(
        self, branch: str, actor: Actor, why: str, now_ns: int, frozen_ns: int | None = None
    ) -> VersionInfo:
        """The branch's latest version becomes the common schedule.

        What has begun by `frozen_ns` (default: now) stays as it was: the horizon rolls.  Only a
        network scheduler may set it before now, to correct what was recorded.

        Raises LocalError if it breaks rules, changes the past, or if somebody else has published
        since the branch began (then branch anew); NotAllowedError if an agency's branch changes
        more than its own requests and tracks.
        """
        if not why:
            raise LocalError("publish without a reason: say why")
        frozen_ns = now_ns if frozen_ns is None else frozen_ns
        if frozen_ns < now_ns and actor.agency:
            raise NotAllowedError(f"{actor}: the past is a network scheduler's to correct")
        with self._transaction():
            base_id = self._head(PUBLISHED)
            head_id = self._head(branch)
            if base_id is not None and head_id is None and branch.isdecimal():
                raise LocalError(
                    f"{branch} is a version, or none; a branch is published. "
                    f"{_take_back(self._info(self._resolve(branch)).id, base_id)}"
                )
            if base_id is None or head_id is None:
                raise LocalError(f"branch {branch!r}: not there. Known: {self._known()}")
            if head_id == base_id:
                raise LocalError(f"branch {branch!r} is published already, as version {base_id}")
            if base_id not in self._ancestors(head_id):
                began = (
                    f"branch {branch!r} began before version {base_id} was published by "
                    f"{self._info(base_id).actor}"
                )
                if head_id in self._ancestors(base_id):
                    raise LocalError(
                        f"{began}, and has nothing new. {_take_back(head_id, base_id)}"
                    )
                raise LocalError(f"{began}. {_bring_in_again(branch)}")
            base, head = self._version(base_id), self._version(head_id)
            _check_rules(head.problem, head.schedule)
            check_past(base.schedule, head.schedule, head.problem.horizon, frozen_ns)
            check_allowed(base.problem, base.schedule, head.problem, head.schedule, actor)
            info = self._insert(PUBLISHED, head_id, head.problem, head.schedule, actor, why, now_ns)
            # The branch goes on from what was published.
            self._set_head(branch, info.id)
            difference = diff(base.problem, base.schedule, head.problem, head.schedule)
            self._audit(info, "publish", f"branch {branch}: {difference.count_text}")
            self._audit_tracks(info, difference)
        return info

    def lock(
        self, branch: str, request: str, actor: Actor, why: str, now_ns: int, locked: bool = True
    ) -> VersionInfo:
        """Locks a request's tracks as they stand on the branch, or unlocks them."""
        if branch == PUBLISHED:
            raise LocalError("published is changed by publish: lock on a branch")
        action = "lock" if locked else "unlock"
        with self._transaction():
            parent = self._version(self._resolve(branch))
            tracks = parent.schedule.by_request.get(request, ())
            if request not in parent.problem.request_by_id:
                raise LocalError(f"request {request!r} is not one of {parent.problem.name}")
            if not actor.owns(parent.problem, request):
                raise NotAllowedError(f"{actor}: {request} is another agency's")
            if locked and not tracks:
                raise LocalError(f"request {request} has no track to lock")
            locks = [t for t in parent.problem.locks if t.request != request]
            locks += tracks if locked else ()
            problem = replace(parent.problem, locks=tuple(locks))
            return self._commit(
                branch, parent, problem, parent.schedule, actor, why, now_ns, action, request
            )

    # Reading

    def read(self, name: str = PUBLISHED, actor: Actor | None = None) -> Version:
        """A branch's latest version, or the version of that number; as `actor` sees it."""
        version = self._version(self._resolve(name))
        if actor is None:
            return version
        problem, schedule = view_of(version.problem, version.schedule, actor)
        return replace(version, problem=problem, schedule=schedule)

    def branches(self) -> dict[str, VersionInfo]:
        rows = self._db.execute("SELECT name, head FROM branch ORDER BY name").fetchall()
        return {name: self._info(head) for name, head in rows}

    def log(self, name: str = PUBLISHED) -> list[VersionInfo]:
        """The version and those it came from, latest first."""
        return [self._info(number) for number in self._ancestors(self._resolve(name))]

    def audit(self, request: str = "", limit: int = 1000) -> list[AuditEntry]:
        """Who did what, latest first; of one request if it is named."""
        rows = self._db.execute(
            "SELECT time_ns, actor, agency, branch, version, action, why, request, detail "
            "FROM audit WHERE ? IN ('', request) ORDER BY id DESC LIMIT ?",
            (request, limit),
        )
        return [AuditEntry(t, Actor(name, agency), *rest) for t, name, agency, *rest in rows]

    def diff(self, before: str, after: str) -> Difference:
        one, other = self._version(self._resolve(before)), self._version(self._resolve(after))
        return diff(one.problem, one.schedule, other.problem, other.schedule)

    # Inside

    def _begin(self, name: str, source: int, actor: Actor, why: str, now_ns: int) -> VersionInfo:
        if not re.fullmatch(r"[A-Za-z][\w.-]*", name):
            raise LocalError(f"branch {name!r}: a letter, then letters, digits, - . _ wanted")
        if self._head(name) is not None:
            raise LocalError(f"branch {name!r} is there already")
        info = self._info(source)
        self._set_head(name, info.id)
        entry = replace(info, branch=name, actor=actor, why=why, time_ns=now_ns)
        self._audit(entry, "branch", f"from version {info.id}")
        return info

    def _check_unmoved(self, branch: str, parent: Version, head: Version, actor: Actor) -> None:
        """What others did to theirs is no obstacle to an agency: only its own part is replaced."""
        if own_part(parent.problem, parent.schedule, actor) == own_part(
            head.problem, head.schedule, actor
        ):
            return
        info, since = head.info, diff(parent.problem, parent.schedule, head.problem, head.schedule)
        raise LocalError(
            f"branch {branch!r} is at version {info.id}, by {info.actor}"
            f"{f', {info.why!r}' if info.why else ''}, and this was made from version "
            f"{parent.info.id}; since then: {since.count_text}.\n"
            f"See what:      l4 schedule diff {parent.info.id} {info.id}\n"
            f"Begin from it: l4 schedule show {branch} --requests FILE --out FILE\n"
            f"Replace it:    l4 schedule commit {branch} … --parent {info.id}"
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _commit(
        self,
        branch: str,
        parent: Version,
        problem: Problem,
        schedule: Schedule,
        actor: Actor,
        why: str,
        now_ns: int,
        action: str,
        request: str = "",
    ) -> VersionInfo:
        info = self._insert(branch, parent.info.id, problem, schedule, actor, why, now_ns)
        difference = diff(parent.problem, parent.schedule, problem, schedule)
        self._audit(info, action, difference.count_text, request)
        self._audit_tracks(info, difference)
        for change in difference.requests:
            self._audit(info, "request", change.what, change.request)
        return info

    def _insert(
        self,
        branch: str,
        parent: int | None,
        problem: Problem,
        schedule: Schedule,
        actor: Actor,
        why: str,
        now_ns: int,
    ) -> VersionInfo:
        text = write_requests(request_file(replace(problem, published=None)), "json").encode()
        key = hashlib.sha256(text).hexdigest()
        self._db.execute(
            "INSERT OR IGNORE INTO problem VALUES (?, ?)", (key, zlib.compress(text, 3))
        )
        tracks = json.dumps([_row(t) for t in schedule.tracks]).encode()
        cursor = self._db.execute(
            "INSERT INTO version (parent, branch, time_ns, actor, agency, why, problem, tracks) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (parent, branch, now_ns, actor.name, actor.agency, why, key, zlib.compress(tracks, 3)),
        )
        number = cursor.lastrowid
        assert number is not None  # an INSERT of one row gives its number
        self._set_head(branch, number)
        return VersionInfo(number, parent, branch, now_ns, actor, why)

    def _set_head(self, branch: str, number: int) -> None:
        self._db.execute(
            "INSERT INTO branch VALUES (?, ?) "
            "ON CONFLICT (name) DO UPDATE SET head = excluded.head",
            (branch, number),
        )

    def _head(self, branch: str) -> int | None:
        row = self._db.execute("SELECT head FROM branch WHERE name = ?", (branch,)).fetchone()
        return row[0] if row else None

    def _known(self) -> str:
        return ", ".join(self.branches()) or "none: create a schedule first"

    def _resolve(self, name: str) -> int:
        if (head := self._head(name)) is not None:
            return head
        row = None
        if name.isascii() and name.isdigit() and len(name) < 18:
            row = self._db.execute("SELECT id FROM version WHERE id = ?", (int(name),)).fetchone()
        if row is None:
            raise LocalError(
                f"{name!r} is no file, no branch and no version. Branches: {self._known()}"
            )
        return row[0]

    def _info(self, number: int) -> VersionInfo:
        parent, branch, time_ns, actor, agency, why = self._db.execute(
            "SELECT parent, branch, time_ns, actor, agency, why FROM version WHERE id = ?",
            (number,),
        ).fetchone()
        return VersionInfo(number, parent, branch, time_ns, Actor(actor, agency), why)

    def _version(self, number: int) -> Version:
        body, tracks = self._db.execute(
            "SELECT body, tracks FROM version JOIN problem ON hash = problem WHERE id = ?",
            (number,),
        ).fetchone()
        text = zlib.decompress(body).decode()
        problem = build_problem(parse_requests(text, f"version {number} in {self.path}.json"))
        rows = json.loads(zlib.decompress(tracks))
        schedule = Schedule(
            tuple(
                Track(on_ns, off_ns, request, tuple(antennas), start_ns, end_ns)
                for on_ns, off_ns, request, antennas, start_ns, end_ns in rows
            )
        )
        return Version(self._info(number), problem, schedule)

    def _ancestors(self, number: int) -> list[int]:
        rows = self._db.execute(
            "WITH RECURSIVE line (id, parent) AS ("
            "SELECT id, parent FROM version WHERE id = ? UNION "
            "SELECT v.id, v.parent FROM version v JOIN line ON v.id = line.parent) "
            "SELECT id FROM line ORDER BY id DESC",
            (number,),
        )
        return [row[0] for row in rows]

    def _audit(self, info: VersionInfo, action: str, detail: str, request: str = "") -> None:
        self._db.execute(
            "INSERT INTO audit (time_ns, actor, agency, branch, version, action, why, request, "
            "detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                info.time_ns, info.actor.name, info.actor.agency, info.branch, info.id, action,
                info.why, request, detail,
            ),
        )  # fmt: skip

    def _audit_tracks(self, info: VersionInfo, difference: Difference) -> None:
        for change in difference.changes:
            self._audit(info, "track", change.text, change.request)


def _row(track: Track) -> list[object]:
    return [
        track.on_ns, track.off_ns, track.request, track.antennas, track.start_ns, track.end_ns,
    ]  # fmt: skip


def _take_back(old: int, base: int) -> str:
    """The commands that publish an old version once more."""
    return (
        f"To publish version {old} once more:\n"
        f"  l4 schedule show {old} --requests then.toml --out then.json\n"
        f"  l4 schedule branch back\n"
        f"  l4 schedule commit back --requests then.toml --schedule then.json --parent {base}\n"
        "  l4 schedule publish back --why …"
    )


def _bring_in_again(branch: str) -> str:
    new = f"{branch}-2"
    return (
        "To bring it in again on top of that:\n"
        f"  l4 schedule diff published {branch}\n"
        f"  l4 schedule branch {new}\n"
        f"  l4 schedule show {new} --requests {new}.toml --out {new}.json\n"
        f"  (edit {new}.toml or solve it, so that it holds what {branch} brought)\n"
        f"  l4 schedule commit {new} --requests {new}.toml --schedule {new}.json\n"
        f"  l4 schedule publish {new} --why …"
    )


def _check_rules(problem: Problem, schedule: Schedule) -> None:
    if broken := violations(problem, schedule):
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        raise LocalError(f"{problem.name}: not to be published: {broken[0]}{more}")
