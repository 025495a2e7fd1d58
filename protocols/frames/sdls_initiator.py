"""The initiator of 355.1-B procedures: the end that sends protected frames and manages the keys.

It makes PDUs, and keeps its own keys and associations as the recipient's: a PDU changes them when
the recipient is known to have executed it (`completed`), which light time may put off by hours;
until then frames go out under what was before.  No clock, no randomness of its own.

    >>> from protocols.frames.sdls import Channel, KeyStore, SaParameters, Service
    >>> keys = KeyStore({100: bytes(32)})
    >>> channel = Channel(0, 76, 0, 0)
    >>> agreed = SaParameters(spi=3, service=Service.AUTHENTICATION, channels={channel})
    >>> ground = SecurityInitiator(SecurityEndpoint(keys, [agreed]), master_key_id=100)
    >>> otar = ground.otar([7], lambda octets: bytes(octets))
    >>> ground.activate([7])
    Traceback (most recent call last):
    protocols.errors.LocalError: no session key 7
    >>> ground.completed(otar)
    >>> ground.completed(ground.activate([7]))
    >>> keys.state(7).name
    'ACTIVE'
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from protocols.errors import LocalError, RemoteError
from protocols.frames.sdls import IV_LENGTH, SaEvent, SaState, SecurityEndpoint
from protocols.frames.sdls_keys import KEY_TABLE, KeyEvent, KeyState
from protocols.frames.sdls_procedures import (
    CHALLENGE_LENGTH,
    KEY_LENGTH,
    MAC_LENGTH,
    KeyChallenge,
    KeyIds,
    Otar,
    Pdu,
    Procedure,
    RekeySa,
    SetArsn,
    SetArsnWindow,
    SpiRequest,
    build_pdu,
    is_answer,
    parse_pdu,
)

Entropy = Callable[[int], bytes]

_KEY_EVENTS: Final = {
    Procedure.ACTIVATE_KEYS: KeyEvent.ACTIVATE,
    Procedure.DEACTIVATE_KEYS: KeyEvent.DEACTIVATE,
    Procedure.DESTROY_KEYS: KeyEvent.DESTROY,
}
_SA_EVENTS: Final = {
    Procedure.START_SA: SaEvent.START,
    Procedure.STOP_SA: SaEvent.STOP,
    Procedure.EXPIRE_SA: SaEvent.EXPIRE,
}
_ANSWER_LENGTH: Final = 2 + IV_LENGTH + CHALLENGE_LENGTH + MAC_LENGTH


@dataclass(frozen=True, slots=True)
class Reply:
    """What the recipient says.  verified: by key id, of a key verification; keys: states, of an
    inventory; spi and number: of a read ARSN; spi and last: the last transition of a status."""

    procedure: Procedure
    verified: Mapping[int, bool] | None = None
    keys: Mapping[int, KeyState] | None = None
    spi: int | None = None
    number: int | None = None
    last: Procedure | None = None


class SecurityInitiator:
    """endpoint: of the sender; master_key_id: wraps the keys that OTAR sends and those kept.

    routes: MAP → SPI under which its frames are sent first; `use` changes it.
    """

    def __init__(
        self,
        endpoint: SecurityEndpoint,
        *,
        master_key_id: int,
        routes: Mapping[int, int] | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.master_key_id = master_key_id
        self._routes = dict(routes or {})
        self._otar_iv = 0

    # Where frames go -----------------------------------------------------------------------------

    def spi(self, map_id: int) -> int:
        """The association that protects frames of a MAP now."""
        if map_id not in self._routes:
            raise LocalError(f"MAP {map_id} has no security association")
        return self._routes[map_id]

    def obstacle(self, map_id: int) -> str:
        """Why no frame of a MAP can be protected now, in words; empty if it can."""
        association = self.endpoint.association(self.spi(map_id))
        spi, key_id = association.parameters.spi, association.key_id
        if association.state is not SaState.OPERATIONAL or key_id is None:
            return f"MAP {map_id} goes under SPI {spi}, which is {association.state.name}"
        state = self.endpoint.keys.state(key_id)
        if state is not KeyState.ACTIVE:
            return f"MAP {map_id} goes under SPI {spi}, whose key {key_id} is {state.name}"
        return ""

    def use(self, map_id: int, spi: int) -> None:
        """Send frames of a MAP under another association, which has to be operational here."""
        association = self.endpoint.association(spi)
        channels = association.parameters.channels
        if all(channel.map_id not in (-1, map_id) for channel in channels):
            raise LocalError(f"SPI {spi} does not protect MAP {map_id}")
        if association.state is not SaState.OPERATIONAL:
            raise LocalError(f"SPI {spi} is {association.state.name}, not operational")
        self._routes[map_id] = spi

    # PDUs ----------------------------------------------------------------------------------------

    def otar(self, key_ids: Sequence[int], entropy: Entropy) -> bytes:
        """New keys, made of `entropy(octets)` (a cryptographic source), on their way.

        `snapshot` has to be kept before this is sent: an IV is never used twice.
        """
        keys = self.endpoint.keys
        there = [key_id for key_id in key_ids if key_id in set(keys)]
        if there or len(set(key_ids)) < len(key_ids) or not key_ids:
            raise LocalError(f"OTAR of keys {list(key_ids)}: new ids, each once, wanted")
        self._otar_iv += 1
        iv = self._otar_iv.to_bytes(IV_LENGTH, "big")
        fresh = tuple((key_id, entropy(KEY_LENGTH)) for key_id in key_ids)
        data = Otar(self.master_key_id, iv, fresh).build(keys.master(self.master_key_id))
        return build_pdu(Pdu(Procedure.OTAR, data))

    def skip_otar(self, iv: int) -> None:
        """The next OTAR has a higher IV than this: others may have been used that are not known."""
        self._otar_iv = max(self._otar_iv, iv)

    def verify(self, key_ids: Iterable[int], entropy: Entropy) -> bytes:
        """Challenges, which `read` checks the reply to."""
        challenges = tuple((key_id, entropy(CHALLENGE_LENGTH)) for key_id in key_ids)
        for key_id, _ in challenges:
            self.endpoint.keys.verifiable(key_id)
        return build_pdu(Pdu(Procedure.VERIFY_KEYS, KeyChallenge(challenges).build()))

    def _of_keys(self, procedure: Procedure, key_ids: Sequence[int]) -> bytes:
        self._check_keys(procedure, key_ids)
        return build_pdu(Pdu(procedure, KeyIds(tuple(key_ids)).build()))

    def activate(self, key_ids: Sequence[int]) -> bytes:
        return self._of_keys(Procedure.ACTIVATE_KEYS, key_ids)

    def deactivate(self, key_ids: Sequence[int]) -> bytes:
        """LocalError for a key that frames are being sent under."""
        for spi in self._routes.values():
            if self.endpoint.association(spi).key_id in key_ids:
                raise LocalError(f"key of SPI {spi}, which frames are sent under now")
        return self._of_keys(Procedure.DEACTIVATE_KEYS, key_ids)

    def destroy(self, key_ids: Sequence[int]) -> bytes:
        return self._of_keys(Procedure.DESTROY_KEYS, key_ids)

    def inventory(self, first: int = 0, last: int = 0xFFFF) -> bytes:
        return build_pdu(Pdu(Procedure.KEY_INVENTORY, KeyIds((first, last)).build()))

    def rekey(self, spi: int, key_id: int, number: int = 0) -> bytes:
        """The recipient accepts numbers above `number`."""
        association = self.endpoint.association(spi)
        if association.state is not SaState.UNKEYED:
            raise LocalError(f"SPI {spi} is {association.state.name}; stop and expire it first")
        self.endpoint.keys.state(key_id)
        length = association.parameters.number_length
        return build_pdu(Pdu(Procedure.REKEY_SA, RekeySa(spi, key_id, number).build(length)))

    def start(self, spi: int) -> bytes:
        return self._of_association(Procedure.START_SA, spi)

    def stop(self, spi: int) -> bytes:
        """LocalError for the association that frames are sent under."""
        if spi in self._routes.values():
            raise LocalError(f"SPI {spi}: frames are sent under it; `use` another one first")
        return self._of_association(Procedure.STOP_SA, spi)

    def expire(self, spi: int) -> bytes:
        return self._of_association(Procedure.EXPIRE_SA, spi)

    def status(self, spi: int) -> bytes:
        return self._of_association(Procedure.SA_STATUS, spi)

    def read_number(self, spi: int) -> bytes:
        """Read ARSN: the last number that the recipient has accepted."""
        return self._of_association(Procedure.READ_ARSN, spi)

    def set_number(self, spi: int, number: int) -> bytes:
        """Set ARSN: the recipient accepts numbers above this one; so does the sender go on."""
        length = self.endpoint.association(spi).parameters.number_length
        return build_pdu(Pdu(Procedure.SET_ARSN, SetArsn(spi, number).build(length)))

    def set_window(self, spi: int, window: int) -> bytes:
        """Set ARSN window; 0: without limit."""
        self.endpoint.association(spi)
        return build_pdu(Pdu(Procedure.SET_ARSN_WINDOW, SetArsnWindow(spi, window).build()))

    def ping(self) -> bytes:
        return build_pdu(Pdu(Procedure.PING))

    def reset_alarm(self) -> bytes:
        return build_pdu(Pdu(Procedure.RESET_ALARM))

    def _of_association(self, procedure: Procedure, spi: int) -> bytes:
        self.endpoint.association(spi)
        return build_pdu(Pdu(procedure, SpiRequest(spi).build()))

    def _check_keys(self, procedure: Procedure, key_ids: Sequence[int]) -> None:
        keys, event = self.endpoint.keys, _KEY_EVENTS[procedure]
        wrong = [key_id for key_id in key_ids if event not in KEY_TABLE[keys.state(key_id)]]
        if wrong:
            states = ", ".join(f"{key_id} {keys.state(key_id).name}" for key_id in wrong)
            raise LocalError(f"{event.value}: not of {states}")

    # What came of them ---------------------------------------------------------------------------

    def completed(self, octets: bytes) -> None:
        """The recipient has executed this PDU: the same change here.

        Raises LocalError where it cannot be made: the ends differ, and `inventory`, `status` and
        `read_number` tell how.
        """
        pdu = parse_pdu(octets)
        keys, data = self.endpoint.keys, pdu.data
        if pdu.procedure is Procedure.OTAR:
            master = keys.master(Otar.master_key_of(data))
            for key_id, value in Otar.parse(data, master).keys:
                keys.load(key_id, value)
        elif pdu.procedure in _KEY_EVENTS:
            key_ids = KeyIds.parse(data).key_ids
            self._check_keys(pdu.procedure, key_ids)
            for key_id in key_ids:
                keys.move(key_id, _KEY_EVENTS[pdu.procedure])
        elif pdu.procedure in _SA_EVENTS:
            change = {
                SaEvent.START: self.endpoint.start,
                SaEvent.STOP: self.endpoint.stop,
                SaEvent.EXPIRE: self.endpoint.expire,
            }[_SA_EVENTS[pdu.procedure]]
            change(int.from_bytes(data, "big"))
        elif pdu.procedure is Procedure.REKEY_SA:
            spi, key_id = (int.from_bytes(data[at : at + 2], "big") for at in (0, 2))
            self.endpoint.rekey(spi, key_id, int.from_bytes(data[4:], "big"))
        elif pdu.procedure is Procedure.SET_ARSN:
            spi, number = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:], "big")
            self.endpoint.set_number(spi, number)
        elif pdu.procedure is Procedure.SET_ARSN_WINDOW:
            association = self.endpoint.association(int.from_bytes(data[:2], "big"))
            association.window = int.from_bytes(data[2:], "big") or None

    def read(self, sent: bytes, octets: bytes) -> Reply:
        """The reply to a PDU that was sent.  RemoteError for one that is not."""
        question, reply = parse_pdu(sent), parse_pdu(octets)
        if not reply.reply or reply.procedure is not question.procedure:
            raise RemoteError(f"no reply to {question.procedure.name}", data=octets)
        data = reply.data
        match reply.procedure:
            case Procedure.VERIFY_KEYS:
                return Reply(reply.procedure, verified=self._verified(question.data, data))
            case Procedure.KEY_INVENTORY:
                return Reply(reply.procedure, keys=_inventory(data))
            case Procedure.READ_ARSN if len(data) > 2:
                spi, number = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:], "big")
                return Reply(reply.procedure, spi=spi, number=number)
            case Procedure.SA_STATUS if len(data) == 3 and data[2] in (0, *Procedure):
                last = Procedure(data[2]) if data[2] else None
                return Reply(reply.procedure, spi=int.from_bytes(data[:2], "big"), last=last)
            case Procedure.PING if not data:
                return Reply(reply.procedure)
            case _:
                raise RemoteError(f"{reply.procedure.name}: no such reply", data=octets)

    def _verified(self, asked: bytes, answers: bytes) -> dict[int, bool]:
        challenges = KeyChallenge.parse(asked).challenges
        found: dict[int, bool] = {}
        for place, (key_id, challenge) in enumerate(challenges):
            answer = answers[place * _ANSWER_LENGTH : (place + 1) * _ANSWER_LENGTH]
            value = self.endpoint.keys.verifiable(key_id)
            found[key_id] = is_answer(answer, key_id, value, challenge)
        return found

    # To be kept ----------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """For `restore`; to be on disk before anything that was made since the last one is sent.

        Keys are in it wrapped under the master key, which is not.
        """
        return {
            "keys": self.endpoint.keys.snapshot(self.master_key_id),
            "associations": self.endpoint.snapshot(),
            "routes": sorted(self._routes.items()),
            "otar_iv": self._otar_iv,
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Raises LocalError under another master key, or for an association that is not there."""
        self.endpoint.keys.restore(snapshot["keys"], self.master_key_id)
        self.endpoint.restore(snapshot["associations"])
        self._routes = {int(map_id): int(spi) for map_id, spi in snapshot["routes"]}
        self._otar_iv = int(snapshot["otar_iv"])


def _inventory(data: bytes) -> dict[int, KeyState]:
    count = int.from_bytes(data[:2], "big")
    if len(data) != 2 + 3 * count or any(state > 3 for state in data[4::3]):
        raise RemoteError(f"key inventory of {len(data)} octets for {count} keys", data=data)
    return {
        int.from_bytes(data[at : at + 2], "big"): KeyState(data[at + 2])
        for at in range(2, len(data), 3)
    }


def describe(octets: bytes) -> str:
    """A PDU for people: its procedure, and keys or associations by number, never a key.

    >>> describe(build_pdu(Pdu(Procedure.ACTIVATE_KEYS, KeyIds((3, 4)).build())))
    'ACTIVATE_KEYS 3, 4'
    """
    pdu = parse_pdu(octets)
    name, data = pdu.procedure.name, pdu.data
    if pdu.reply:
        return f"reply to {name}"
    if pdu.procedure in _KEY_EVENTS:
        return f"{name} {', '.join(map(str, KeyIds.parse(data).key_ids))}"
    if pdu.procedure is Procedure.VERIFY_KEYS:
        return f"{name} {', '.join(str(k) for k, _ in KeyChallenge.parse(data).challenges)}"
    if pdu.procedure is Procedure.OTAR:
        return f"{name} under master key {Otar.master_key_of(data)}"
    if pdu.procedure in (Procedure.PING, Procedure.RESET_ALARM, Procedure.KEY_INVENTORY):
        return name
    spi = f"{name} of SPI {int.from_bytes(data[:2], 'big')}"
    if pdu.procedure is Procedure.REKEY_SA:
        return f"{spi} with key {int.from_bytes(data[2:4], 'big')}"
    return spi
