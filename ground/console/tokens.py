"""Tokens with which scripts sign in: of a person, for a role, until a day, revoked at any time.

    made = tokens.make("ann", Role.OPERATOR, "nightly report", days=30, now_s=now_s)
    made.secret                                told once; the file has its SHA-256
    tokens.session(secret, now_s)              what the secret may do now

A token may never do more than its person may at that moment, and goes with them.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from threading import RLock
from typing import Final

from ground.console.roles import NotSignedIn, Role, Session
from protocols.errors import LocalError

#: Told apart from other secrets by programs that look for such left in files.
PREFIX: Final = "l4_"
MOST_DAYS: Final = 366
#: Of one person: more is a script that makes one at every start.
MOST_TOKENS: Final = 100
_DAY_S: Final = 86_400
#: Made where it is not there: files from before there were tokens are of the same format.
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS token (
    number INTEGER PRIMARY KEY AUTOINCREMENT, digest TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL REFERENCES person ON DELETE CASCADE, role INTEGER NOT NULL,
    label TEXT NOT NULL, made_s INTEGER NOT NULL, until_s INTEGER NOT NULL,
    used_s INTEGER NOT NULL) STRICT
"""


@dataclass(frozen=True, slots=True)
class Token:
    """used_s: 0: never.  secret: where it has just been made."""

    number: int
    name: str
    role: Role
    label: str
    made_s: int
    until_s: int
    used_s: int
    secret: str = ""


class Tokens:
    """Of the file of accounts; any thread may call."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        lock: RLock,
        writing: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._db = connection
        self._lock = lock
        self._writing = writing
        connection.execute(SCHEMA)

    def make(self, name: str, role: Role, label: str, *, days: int, now_s: float) -> Token:
        """LocalError for nobody, more than they may, or a length that is not allowed."""
        if not 1 <= days <= MOST_DAYS:
            raise LocalError(f"token for {days} days: 1..{MOST_DAYS} wanted")
        if not label.strip() or len(label) > 200 or not label.isprintable():
            raise LocalError(f"label {label[:80]!r}: what it is for, 1..200 characters, wanted")
        secret = PREFIX + secrets.token_urlsafe(32)
        until_s = int(now_s) + days * _DAY_S
        with self._writing():
            found = self._db.execute("SELECT role FROM person WHERE name = ?", (name,)).fetchone()
            if found is None:
                raise LocalError(f"nobody is called {name!r}")
            if role > found[0]:
                present = Role(found[0]).name.lower()
                raise LocalError(f"role {role.name.lower()}: {name} is {present}")
            (count,) = self._db.execute(
                "SELECT count(*) FROM token WHERE name = ?", (name,)
            ).fetchone()
            if count >= MOST_TOKENS:
                raise LocalError(f"{name} has {count} tokens; revoke some")
            number = self._db.execute(
                "INSERT INTO token (digest, name, role, label, made_s, until_s, used_s) "
                "VALUES (?, ?, ?, ?, ?, ?, 0)",
                (digest(secret), name, role, label, int(now_s), until_s),
            ).lastrowid
        assert number is not None
        return Token(number, name, role, label, int(now_s), until_s, 0, secret)

    def all(self, name: str = "") -> list[Token]:
        """Without their secrets, which nobody has; of everybody, or of one."""
        with self._lock:
            rows = self._db.execute(
                "SELECT number, name, role, label, made_s, until_s, used_s FROM token "
                "WHERE ? IN ('', name) ORDER BY number",
                (name,),
            ).fetchall()
        return [Token(row[0], row[1], Role(row[2]), *row[3:]) for row in rows]

    def revoke(self, number: int, name: str = "") -> None:
        """It is of no use from now on.  name: only if it is theirs.  LocalError: there is none."""
        with self._writing():
            done = self._db.execute(
                "DELETE FROM token WHERE number = ? AND ? IN ('', name)", (number, name)
            ).rowcount
            if not done:
                whose = f" of {name}" if name else ""
                raise LocalError(f"no token {number}{whose}")

    def session(self, secret: str, now_s: float) -> Session:
        """NotSignedIn: there is no such token, or its days are over."""
        with self._lock:
            row = self._db.execute(
                "SELECT t.number, t.name, min(t.role, p.role), t.until_s, t.used_s FROM token t "
                "JOIN person p ON p.name = t.name WHERE t.digest = ?",
                (digest(secret),),
            ).fetchone()
        if row is None:
            raise NotSignedIn("this token is none, or has been revoked")
        number, name, role, until_s, used_s = row
        if now_s > until_s:
            raise NotSignedIn(f"token {number}: its days are over")
        if now_s - used_s > 60:
            with self._writing():
                self._db.execute(
                    "UPDATE token SET used_s = ? WHERE number = ?", (int(now_s), number)
                )
        return Session(name, Role(role), csrf="", token_number=number)


def digest(secret: str) -> str:
    """What is kept of it.  Nothing slower is needed: it has 192 bits of chance or more."""
    return hashlib.sha256(secret.encode()).hexdigest()
