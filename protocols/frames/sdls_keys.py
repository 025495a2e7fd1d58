"""Session keys of link security and their states (CCSDS 355.1-B-1, key management).

>>> keys = KeyStore({0: bytes(32)})
>>> keys.load(130, bytes(range(32)))
>>> keys.move(130, KeyEvent.ACTIVATE)
>>> keys.state(130).name
'ACTIVE'
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from protocols.errors import LocalError

#: Octets of an AES key.
KEY_LENGTHS: Final = (16, 24, 32)


class KeyState(Enum):
    """Values as in a key inventory reply."""

    PRE_ACTIVE = 0
    ACTIVE = 1
    DEACTIVATED = 2
    DESTROYED = 3


class KeyEvent(Enum):
    ACTIVATE = "activate"
    DEACTIVATE = "deactivate"
    DESTROY = "destroy"


#: A key is used while it is active, and never becomes active twice.
KEY_TABLE: Final[dict[KeyState, dict[KeyEvent, KeyState]]] = {
    KeyState.PRE_ACTIVE: {
        KeyEvent.ACTIVATE: KeyState.ACTIVE,
        KeyEvent.DESTROY: KeyState.DESTROYED,
    },
    KeyState.ACTIVE: {KeyEvent.DEACTIVATE: KeyState.DEACTIVATED},
    KeyState.DEACTIVATED: {KeyEvent.DESTROY: KeyState.DESTROYED},
    KeyState.DESTROYED: {},
}


class KeyStore:
    """Master keys, which only wrap others, and session keys; LocalError for what is not allowed.

    A key's octets never leave it but by `value`, and it does not show them.
    """

    def __init__(self, master_keys: Mapping[int, bytes] | None = None) -> None:
        self._masters = {self._id(key): self._checked(v) for key, v in (master_keys or {}).items()}
        self._values: dict[int, bytes] = {}
        self._states: dict[int, KeyState] = {}
        self._ciphers: dict[int, AESGCM] = {}

    @staticmethod
    def _id(key_id: int) -> int:
        if not 0 <= key_id < 1 << 16:
            raise LocalError(f"key id {key_id}: 0..65535")
        return key_id

    @staticmethod
    def _checked(value: bytes) -> bytes:
        if len(value) not in KEY_LENGTHS:
            raise LocalError(f"key of {len(value)} octets, one of {KEY_LENGTHS} wanted")
        return bytes(value)

    def load(self, key_id: int, value: bytes) -> None:
        """A new session key, not active yet.  An id is used once, unless its key is destroyed."""
        if self._id(key_id) in self._masters:
            raise LocalError(f"key {key_id} is a master key")
        if self._states.get(key_id, KeyState.DESTROYED) is not KeyState.DESTROYED:
            raise LocalError(f"key {key_id} is there already, {self._states[key_id].name}")
        self._values[key_id] = self._checked(value)
        self._states[key_id] = KeyState.PRE_ACTIVE

    def state(self, key_id: int) -> KeyState:
        state = self._states.get(key_id)
        if state is None:
            raise LocalError(f"no session key {key_id}")
        return state

    def move(self, key_id: int, event: KeyEvent) -> None:
        following = KEY_TABLE[self.state(key_id)].get(event)
        if following is None:
            raise LocalError(f"key {key_id}: {event.value} while {self.state(key_id).name}")
        self._states[key_id] = following
        self._ciphers.pop(key_id, None)
        if following is KeyState.DESTROYED:
            del self._values[key_id]

    def is_active(self, key_id: int | None) -> bool:
        return key_id is not None and self._states.get(key_id) is KeyState.ACTIVE

    def value(self, key_id: int) -> bytes:
        """Of an active session key."""
        if not self.is_active(key_id):
            raise LocalError(f"key {key_id} is not active")
        return self._values[key_id]

    def gcm(self, key_id: int) -> AESGCM:
        """AES-GCM under an active session key, its key schedule made once."""
        if not self.is_active(key_id):
            raise LocalError(f"key {key_id} is not active")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            cipher = self._ciphers[key_id] = AESGCM(self._values[key_id])
        return cipher

    def verifiable(self, key_id: int) -> bytes:
        """Of a session key that is active or may still become it: what can be verified."""
        if self.state(key_id) not in (KeyState.PRE_ACTIVE, KeyState.ACTIVE):
            raise LocalError(f"key {key_id} is {self.state(key_id).name}")
        return self._values[key_id]

    def snapshot(self, master_key_id: int) -> list[list[Any]]:
        """Id, state and value of each session key for `restore`, values wrapped (RFC 3394) under a
        master key: what is kept of them tells nobody a key."""
        master = self.master(master_key_id)
        return [
            [
                key_id, self._states[key_id].value,
                aes_key_wrap(master, self._values[key_id]) if key_id in self._values else b"",
            ]
            for key_id in self
        ]  # fmt: skip

    def restore(self, snapshot: Iterable[list[Any]], master_key_id: int) -> None:
        """All session keys as they were.  LocalError for another master key, changing nothing."""
        master = self.master(master_key_id)
        states: dict[int, KeyState] = {}
        values: dict[int, bytes] = {}
        for key_id, state, wrapped in snapshot:
            states[self._id(key_id)] = KeyState(state)
            if not wrapped:
                continue
            try:
                values[key_id] = aes_key_unwrap(master, wrapped)
            except InvalidUnwrap as error:
                raise LocalError(
                    f"key {key_id} was kept under another master key {master_key_id}"
                ) from error
        self._states, self._values = states, values
        self._ciphers.clear()

    def master(self, key_id: int) -> bytes:
        if key_id not in self._masters:
            raise LocalError(f"no master key {key_id}")
        return self._masters[key_id]

    def __iter__(self) -> Iterator[int]:
        """Ids of the session keys, in order."""
        return iter(sorted(self._states))
