"""Keys and security associations of the command link, managed by requests like any other.

An operator's action makes a PDU of 355.1-B and puts it on the stack as SECURITY_PROCEDURE, which is
hazardous: it is armed, approved by a second person and sent.  The ground's own keys and
associations change when the spacecraft reports that it has executed it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ground.command.desk import Desk
from ground.command.requests import Request
from ground.command.store import CommandStore
from ground.keyring import read_secret
from protocols.dictionary.l4_link import MANAGEMENT_COMMAND, SIMULATION_KEYS, CommandKeys
from protocols.errors import LocalError, RemoteError
from protocols.frames.sdls_initiator import Reply, SecurityInitiator, describe

#: Actions by what they are about.
_KEYS: Final = ("otar", "verify", "activate", "deactivate", "destroy")
_ASSOCIATIONS: Final = ("start", "stop", "expire", "status", "read_number")
_NUMBERED: Final = ("rekey", "set_number", "set_window")
_PLAIN: Final = ("inventory", "ping", "reset_alarm")
ACTIONS: Final = (*_KEYS, *_ASSOCIATIONS, *_NUMBERED, *_PLAIN, "use")


def load_keys(file: str) -> CommandKeys:
    """Keys of the command link; empty: the simulated spacecraft's.

    Raises LocalError, which quotes none of them, for a file that holds something else, or that
    everybody may read.
    """
    if not file:
        return SIMULATION_KEYS
    try:
        return CommandKeys.parse(read_secret(Path(file)))
    except LocalError as error:
        raise LocalError(f"{file}: {error}") from error


class SecurityOffice:
    """entropy: octets from a cryptographic source.  changed: called when the ground's end has
    changed, which is to be kept before anything is sent."""

    def __init__(
        self,
        initiator: SecurityInitiator,
        store: CommandStore,
        desk: Desk,
        entropy: Callable[[int], bytes],
        changed: Callable[[], None],
    ) -> None:
        self._initiator = initiator
        self._store = store
        self._desk = desk
        self._entropy = entropy
        self._changed = changed
        desk.operations["security"] = self._act
        desk.questions["keys"] = self._list

    def completed(self, now_ns: int, request: Request) -> None:
        """The spacecraft has executed a procedure."""
        try:
            self._initiator.completed(request.arguments["PDU"])
        except LocalError as error:
            # The ends differ: `inventory`, `status` and `read_number` tell how.
            text = f"done on board and not here: {error}"
        else:
            text = f"{describe(request.arguments['PDU'])}: done at both ends"
        self._store.note(request.number, now_ns, "security", state=request.state, text=text)
        self._changed()

    def replied(self, now_ns: int, request: Request, octets: bytes) -> Reply | None:
        """What the spacecraft answers to a procedure that asks; None: it makes no sense."""
        reply: Reply | None = None
        try:
            reply = self._initiator.read(request.arguments["PDU"], octets)
            text = _reply_text(reply)
        except (LocalError, RemoteError) as error:
            text = f"reply: {error}"
        self._store.note(request.number, now_ns, "reply", state=request.state, text=text)
        return reply

    def _act(self, now_ns: int, arguments: dict[str, Any]) -> Any:
        """{action, numbers: key ids, or SPI and what goes with it}; a request on the stack."""
        action = arguments.get("action")
        numbers = [int(one) for one in arguments.get("numbers") or ()]
        actor = str(arguments.get("actor", ""))
        if action not in ACTIONS:
            raise LocalError(f"security {action!r}; {', '.join(ACTIONS)} are")
        if action == "use":
            map_id, spi = _wanted(action, numbers, "a MAP and an SPI", 2)
            self._initiator.use(map_id, spi)
            self._changed()
            text = f"frames of MAP {map_id} go under SPI {spi} from now on"
            self._store.note(0, now_ns, "security", text=text, actor=actor)
            return {"text": text}
        pdu = self._pdu(action, numbers)
        # A new key or IV is kept before it leaves.
        self._changed()
        request = self._desk.submit(
            now_ns, MANAGEMENT_COMMAND, {"PDU": pdu}, actor, comment=describe(pdu)
        )
        return self._desk.described(now_ns, request)

    def _pdu(self, action: str, numbers: list[int]) -> bytes:
        initiator = self._initiator
        if action in ("otar", "verify"):
            make = initiator.otar if action == "otar" else initiator.verify
            return make(_wanted(action, numbers, "key ids"), self._entropy)
        if action in _KEYS:
            return getattr(initiator, action)(_wanted(action, numbers, "key ids"))
        if action in _ASSOCIATIONS:
            return getattr(initiator, action)(*_wanted(action, numbers, "an SPI", 1))
        if action == "rekey" and len(numbers) == 3:
            return initiator.rekey(*numbers)
        if action in _NUMBERED:
            return getattr(initiator, action)(*_wanted(action, numbers, "an SPI and a number", 2))
        if numbers:
            raise LocalError(f"security {action}: no numbers wanted")
        return getattr(initiator, action)()

    def _list(self, now_ns: int, arguments: dict[str, Any]) -> Any:
        """The ground's keys by state, associations, and which protects what; no key itself."""
        snapshot = self._initiator.snapshot()
        keys = self._initiator.endpoint.keys
        return {
            "keys": [{"id": key_id, "state": keys.state(key_id).name} for key_id in sorted(keys)],
            "associations": [
                {"spi": spi, "state": state, "key": key, "number": number, "sent": sent}
                for spi, state, key, number, sent, *_ in snapshot["associations"]
            ],
            "routes": [{"map": map_id, "spi": spi} for map_id, spi in snapshot["routes"]],
        }


def _wanted(action: str, numbers: list[int], what: str, count: int = 0) -> list[int]:
    if not numbers or (count and len(numbers) != count):
        raise LocalError(f"security {action} {numbers}: {what} wanted")
    return numbers


def _reply_text(reply: Reply) -> str:
    if reply.verified is not None:
        return ", ".join(
            f"key {key} {'verified' if good else 'DIFFERS'}" for key, good in reply.verified.items()
        )
    if reply.keys is not None:
        return ", ".join(f"key {key} {state.name}" for key, state in reply.keys.items())
    if reply.number is not None:
        return f"SPI {reply.spi}: last number accepted {reply.number}"
    if reply.spi is not None:
        return f"SPI {reply.spi}: last {reply.last.name if reply.last else 'none'}"
    return "here"
