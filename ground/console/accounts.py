"""Who may do what: people with roles, sessions, and an audit that nobody can change.

    accounts = Accounts.open(path)
    link = accounts.setup_token(now_s)         None once there is anybody
    accounts.set_up(token, "ann", password, now_s)
    session = accounts.sign_in("ann", password, now_s)
    accounts.session(session.token, now_s).role

Passwords are kept as Argon2id; tokens as SHA-256.  Times are Unix seconds of the wall: a session's
length has nothing to do with how fast the world runs.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from ground.console.limits import Rate
from ground.console.roles import NotSignedIn, Role, Session
from ground.console.tokens import Tokens, digest
from ground.durable_files import make_directory
from ground.sqlite_file import open_file
from protocols.errors import LocalError

FORMAT: Final = 1
#: A session ends so long after its last use, and in any case so long after sign-in.
IDLE_S, LONGEST_S = 8 * 3_600, 24 * 3_600
SETUP_S: Final = 24 * 3_600
#: Attempts to sign in, how long they count: for a name from one address, so that nobody is shut
#: out by a stranger elsewhere; from one address; for a name from everywhere.
ATTEMPTS, ADDRESS_ATTEMPTS, NAME_ATTEMPTS, ATTEMPTS_S = 5, 20, 100, 60
SHORTEST_PASSWORD: Final = 10
#: Instead of a password's hash, before the issuer: no password is ever verified by it.
_EXTERNAL: Final = "oidc:"
_SCHEMA = """
CREATE TABLE person (name TEXT PRIMARY KEY, role INTEGER NOT NULL, password TEXT NOT NULL) STRICT;
CREATE TABLE session (
    token TEXT PRIMARY KEY, name TEXT NOT NULL REFERENCES person ON DELETE CASCADE,
    csrf TEXT NOT NULL, began_s INTEGER NOT NULL, used_s INTEGER NOT NULL) STRICT;
CREATE TABLE setup (token TEXT PRIMARY KEY, until_s INTEGER NOT NULL) STRICT;
CREATE TABLE layout (name TEXT PRIMARY KEY, owner TEXT NOT NULL, body TEXT NOT NULL) STRICT;
CREATE TABLE audit (
    id INTEGER PRIMARY KEY, time_s REAL NOT NULL, name TEXT NOT NULL, address TEXT NOT NULL,
    action TEXT NOT NULL, outcome TEXT NOT NULL, detail TEXT NOT NULL) STRICT;
CREATE TRIGGER audit_kept BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'kept'); END;
CREATE TRIGGER audit_as_it_was BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'kept'); END
"""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    id: int
    time_s: float
    name: str
    address: str
    action: str
    outcome: str
    detail: str


class Accounts:
    """One file; any thread may call."""

    def __init__(self, connection: sqlite3.Connection, hasher: PasswordHasher) -> None:
        self._db = connection
        self._lock = threading.RLock()
        self._hasher = hasher
        self._attempts = (
            Rate(ATTEMPTS, ATTEMPTS_S),
            Rate(ADDRESS_ATTEMPTS, ATTEMPTS_S),
            Rate(NAME_ATTEMPTS, ATTEMPTS_S),
        )
        #: Sign-ins, for a wrong name or password, or too many of them.
        self.refused = 0
        #: Scripts'.
        self.tokens = Tokens(connection, self._lock, self._writing)

    @classmethod
    def open(cls, path: Path | str, hasher: PasswordHasher | None = None) -> Accounts:
        """Makes the file if it is not there.  hasher: None: as strong as the library thinks right.

        LocalError: it is another kind of file.
        """
        if path != ":memory:":
            path = Path(path)
            make_directory(path.parent)
            path.touch(mode=0o600)
        connection = open_file(path, _SCHEMA, FORMAT, "accounts", any_thread=True)
        return cls(connection, hasher or PasswordHasher())

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    # People --------------------------------------------------------------------------------------

    def people(self) -> dict[str, Role]:
        with self._lock:
            rows = self._db.execute("SELECT name, role FROM person ORDER BY name").fetchall()
        return {name: Role(role) for name, role in rows}

    def setup_token(self, now_s: float) -> str | None:
        """A new one-time token for the first administrator; None if there is anybody."""
        if self.people():
            return None
        token = secrets.token_urlsafe(24)
        with self._writing():
            self._db.execute("DELETE FROM setup")
            self._db.execute(
                "INSERT INTO setup VALUES (?, ?)", (digest(token), int(now_s + SETUP_S))
            )
        return token

    def set_up(self, token: str, name: str, password: str, now_s: float) -> None:
        """The first administrator.  NotSignedIn for a token that is none; LocalError for a
        password that is too short."""
        # Before the password is hashed: strangers shall not make us do that.
        with self._lock:
            self._check_setup(token, now_s)
        hashed = self._hashed(name, password)
        with self._writing():
            self._check_setup(token, now_s)
            self._db.execute("DELETE FROM setup")
            self._db.execute("INSERT INTO person VALUES (?, ?, ?)", (name, Role.ADMIN, hashed))

    def _check_setup(self, token: str, now_s: float) -> None:
        row = self._db.execute(
            "SELECT until_s FROM setup WHERE token = ?", (digest(token),)
        ).fetchone()
        anybody = self._db.execute("SELECT 1 FROM person").fetchone()
        if row is None or row[0] < now_s or anybody:
            raise NotSignedIn("this set-up link has been used, or is too old")

    def add(self, name: str, role: Role, password: str) -> None:
        """LocalError for a name that is there, and a password that is too short."""
        hashed = self._hashed(name, password)
        with self._writing():
            if self._db.execute("SELECT 1 FROM person WHERE name = ?", (name,)).fetchone():
                raise LocalError(f"{name} is there already")
            self._db.execute("INSERT INTO person VALUES (?, ?, ?)", (name, role, hashed))

    def set_role(self, name: str, role: Role) -> None:
        """LocalError for nobody, and for the last administrator."""
        with self._writing():
            self._known(name)
            if role is not Role.ADMIN:
                self._not_the_last(name)
            self._db.execute("UPDATE person SET role = ? WHERE name = ?", (role, name))

    def set_password(self, name: str, password: str) -> None:
        """Ends the sessions of this person."""
        hashed = self._hashed(name, password)
        with self._writing():
            self._known(name)
            self._db.execute("UPDATE person SET password = ? WHERE name = ?", (hashed, name))
            self._db.execute("DELETE FROM session WHERE name = ?", (name,))

    def remove(self, name: str) -> None:
        with self._writing():
            self._known(name)
            self._not_the_last(name)
            self._db.execute("DELETE FROM person WHERE name = ?", (name,))

    def _hashed(self, name: str, password: str) -> str:
        _check_name(name)
        if len(password) < SHORTEST_PASSWORD or len(password) > 1_000:
            raise LocalError(f"password: {SHORTEST_PASSWORD}..1000 characters wanted")
        return self._hasher.hash(password)

    def _known(self, name: str) -> None:
        if not self._db.execute("SELECT 1 FROM person WHERE name = ?", (name,)).fetchone():
            raise LocalError(f"nobody is called {name!r}")

    def _not_the_last(self, name: str) -> None:
        others = self._db.execute(
            "SELECT 1 FROM person WHERE role = ? AND name != ?", (Role.ADMIN, name)
        ).fetchone()
        if not others:
            raise LocalError(f"{name} is the last administrator")

    @cached_property
    def _nobody(self) -> str:
        """Checked where there is no such person, so that nobody learns names by the clock."""
        return self._hasher.hash(secrets.token_urlsafe(16))

    # Sessions ------------------------------------------------------------------------------------

    def sign_in(self, name: str, password: str, now_s: float, address: str = "") -> Session:
        """NotSignedIn for a wrong name or password, and after too many of them; address: whose."""
        keys = ((name, address), address, name)
        with self._lock:
            # Counted before they are checked, which takes a while: many at once are as many.
            if not all(map(Rate.take, self._attempts, keys, [now_s] * 3)):
                self.refused += 1
                raise NotSignedIn("too many attempts; wait a minute")
            row = self._db.execute(
                "SELECT role, password FROM person WHERE name = ?", (name,)
            ).fetchone()
        try:
            self._hasher.verify(self._nobody if row is None else row[1], password)
        except (VerificationError, InvalidHashError):
            row = None
        if row is None:
            with self._lock:
                self.refused += 1
            raise NotSignedIn("name or password is wrong")
        with self._lock:
            self._attempts[0].forget(keys[0])
        return self._begin(name, Role(row[0]), now_s)

    def sign_in_as(self, name: str, role: Role, issuer: str, now_s: float) -> Session:
        """Whom a provider has told us, with the role that it gives them now.

        LocalError for a name of somebody with a password here, which a provider's like-named one is
        not, and for one that is none.
        """
        _check_name(name)
        with self._writing():
            row = self._db.execute("SELECT password FROM person WHERE name = ?", (name,)).fetchone()
            if row is not None and row[0] != f"{_EXTERNAL}{issuer}":
                raise LocalError(f"{name} signs in another way here: choose another name there")
            self._db.execute(
                "INSERT INTO person VALUES (?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET role = excluded.role",
                (name, role, f"{_EXTERNAL}{issuer}"),
            )
        return self._begin(name, role, now_s)

    def _begin(self, name: str, role: Role, now_s: float) -> Session:
        session = Session(name, role, secrets.token_urlsafe(24), secrets.token_urlsafe(32))
        with self._writing():
            self._db.execute("DELETE FROM session WHERE used_s < ?", (int(now_s) - IDLE_S,))
            self._db.execute(
                "INSERT INTO session VALUES (?, ?, ?, ?, ?)",
                (digest(session.token), name, session.csrf, int(now_s), int(now_s)),
            )
        return session

    def session(self, token: str, now_s: float) -> Session:
        """Of a cookie.  NotSignedIn: there is none, or it has ended."""
        with self._lock:
            row = self._db.execute(
                "SELECT s.name, p.role, s.csrf, s.began_s, s.used_s FROM session s "
                "JOIN person p ON p.name = s.name WHERE s.token = ?",
                (digest(token),),
            ).fetchone()
        if row is None or now_s - row[3] > LONGEST_S or now_s - row[4] > IDLE_S:
            raise NotSignedIn("sign in")
        if now_s - row[4] > 60:
            with self._writing():
                self._db.execute(
                    "UPDATE session SET used_s = ? WHERE token = ?", (int(now_s), digest(token))
                )
        return Session(row[0], Role(row[1]), row[2])

    def sign_out(self, token: str) -> None:
        with self._writing():
            self._db.execute("DELETE FROM session WHERE token = ?", (digest(token),))

    # Layouts -------------------------------------------------------------------------------------

    def layouts(self) -> dict[str, tuple[str, str]]:
        """Name → owner and body."""
        with self._lock:
            rows = self._db.execute("SELECT name, owner, body FROM layout ORDER BY name").fetchall()
        return {name: (owner, body) for name, owner, body in rows}

    def save_layout(self, name: str, owner: str, body: str) -> None:
        """LocalError for somebody else's."""
        with self._writing():
            row = self._db.execute("SELECT owner FROM layout WHERE name = ?", (name,)).fetchone()
            if row is not None and row[0] != owner:
                raise LocalError(f"layout {name!r} is {row[0]}'s; take another name")
            self._db.execute(
                "INSERT INTO layout VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE "
                "SET body = excluded.body",
                (name, owner, body),
            )

    # Audit ---------------------------------------------------------------------------------------

    def audit(
        self, time_s: float, name: str, address: str, action: str, outcome: str, detail: str = ""
    ) -> None:
        """One line, for ever."""
        with self._writing():
            self._db.execute(
                "INSERT INTO audit (time_s, name, address, action, outcome, detail) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (time_s, name, address, action, outcome, detail[:1_000]),
            )

    def audited(self, last: int = 200, before: int = 0) -> list[AuditEntry]:
        """Newest first."""
        with self._lock:
            rows = self._db.execute(
                "SELECT * FROM audit WHERE ? = 0 OR id < ? ORDER BY id DESC LIMIT ?",
                (before, before, last),
            ).fetchall()
        return [AuditEntry(*row) for row in rows]


def _check_name(name: str) -> None:
    if not name or not name.isprintable() or len(name) > 64 or name != name.strip():
        raise LocalError(f"name {name[:80]!r}: 1..64 printable characters wanted")


__all__ = ["Accounts", "AuditEntry", "NotSignedIn", "Role", "Session"]
