"""Files between two entities: loss, resets at any instant, cancel, suspend, limits, proxies."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spacepackets.cfdp.pdu import DirectiveType, PduFactory

from protocols.errors import LocalError, RemoteError
from protocols.files.entity import FileEntity, Happening, new_peer
from protocols.files.pdus import parse_pdu
from protocols.files.records import Kind, MemoryStore, State
from tests.protocols.files.air import OWLT_NS, Air, S

GROUND, SPACE = 10, 20
LONGEST = 1_000


class Pair(Air):
    def __init__(self, **options: object) -> None:
        self.stores = (MemoryStore(Path), MemoryStore(Path))
        self.entities: list[FileEntity] = []

        def maker(side: int) -> Callable[[int], FileEntity]:
            number, other = ((GROUND, SPACE), (SPACE, GROUND))[side]

            def make(now_ns: int) -> FileEntity:
                peer = new_peer(other, owlt_ns=OWLT_NS, longest_pdu=LONGEST)
                return FileEntity(number, [peer], self.stores[side], now_ns)

            return make

        super().__init__([maker(0), maker(1)], **options)  # type: ignore[arg-type]

    @property
    def ground(self) -> FileEntity:
        return self.ends[0]  # type: ignore[return-value]

    @property
    def space(self) -> FileEntity:
        return self.ends[1]  # type: ignore[return-value]

    def ended(self) -> bool:
        """Nothing goes on, nothing is under way."""
        records = self.ground.records() + self.space.records()
        return all(one.state.ended for one in records) and not any(self.ways)


def directive(pdu: bytes) -> DirectiveType | None:
    return PduFactory.pdu_directive_type(pdu)


def offer(pair: Pair, size: int, seed: int = 1) -> bytes:
    data = random.Random(seed).randbytes(size)
    pair.stores[0].files["data.bin"] = data
    return data


@pytest.mark.parametrize("size", [0, 1, 983, 984, 985, 10_000])
@pytest.mark.parametrize("class_", [1, 2])
def test_a_file_arrives(size: int, class_: int) -> None:
    pair = Pair()
    data = offer(pair, size)
    key = pair.ground.put(0, "data.bin", "in/copy.bin", peer=SPACE, class_=class_)
    assert pair.run(pair.ended)
    assert pair.stores[1].files == {"in/copy.bin": data}
    (sent,), (received,) = pair.ground.records(), pair.space.records()
    assert (sent.key, received.key) == (key, key)
    assert sent.state is received.state is State.COMPLETE
    assert sent.progress == received.progress == size
    # Class 1: one way.  Class 2: EOF there, Finished back, its acknowledgement there.
    assert pair.now_ns // OWLT_NS == (1 if class_ == 1 else 3)
    assert len(pair.log[1]) == (0 if class_ == 1 else 2)


def test_through_loss() -> None:
    for seed in range(40):
        pair = Pair(loss=0.3, seed=seed)
        data = offer(pair, 30_000, seed)
        pair.ground.put(0, "data.bin", "copy", peer=SPACE)
        assert pair.run(pair.ended), seed
        assert pair.stores[1].files == {"copy": data}, seed
        assert {one.condition for one in pair.ground.records()} == {"no_error"}, seed


def test_through_loss_and_resets_at_both_ends() -> None:
    resets = 0
    for seed in range(40):
        pair = Pair(loss=0.2, seed=seed, reset=0.2, octets_s=300)
        data = offer(pair, 30_000, seed)
        pair.ground.put(0, "data.bin", "copy", peer=SPACE)
        pair.space.get(0, "data.bin", "another", peer=GROUND)
        assert pair.run(pair.ended), seed
        assert pair.stores[1].files == {"copy": data, "another": data}, seed
        resets += pair.resets
    assert resets > 400


@pytest.mark.parametrize(
    "kind", [DirectiveType.METADATA_PDU, DirectiveType.EOF_PDU, DirectiveType.NAK_PDU]
)
def test_the_first_of_a_directive_is_lost(kind: DirectiveType) -> None:
    _lose(kind, side=1 if kind is DirectiveType.NAK_PDU else 0)


@pytest.mark.parametrize("kind", [DirectiveType.ACK_PDU, DirectiveType.FINISHED_PDU])
def test_the_first_of_an_answer_is_lost(kind: DirectiveType) -> None:
    _lose(kind, side=1)


def test_the_last_acknowledgement_is_lost() -> None:
    pair = _lose(DirectiveType.ACK_PDU, side=0)
    # The sender had ended; it still answers.
    assert [directive(pdu) for pdu in pair.log[0]].count(DirectiveType.ACK_PDU) == 2


def _lose(kind: DirectiveType, side: int) -> Pair:
    seen: list[bytes] = []

    def drop(from_side: int, pdu: bytes) -> bool:
        if from_side == 0 and directive(pdu) is None and pdu[10:14] == (3 * 984).to_bytes(4, "big"):
            # A segment, so that there is a NAK to be lost.
            return pdu not in seen and not seen.append(pdu)
        if from_side != side or directive(pdu) is not kind or any(map(directive, seen)):
            return False
        seen.append(pdu)
        return True

    pair = Pair(drop=drop)
    data = offer(pair, 20_000)
    pair.ground.put(0, "data.bin", "copy", peer=SPACE)
    assert pair.run(pair.ended)
    assert kind in map(directive, seen)
    assert pair.stores[1].files == {"copy": data}
    assert {one.state for one in pair.ground.records() + pair.space.records()} == {State.COMPLETE}
    return pair


def test_data_before_metadata_is_kept() -> None:
    pair = _lose(DirectiveType.METADATA_PDU, side=0)
    data = [pdu for pdu in pair.log[0] if directive(pdu) is None]
    assert len(data) - len(set(data)) <= 1, "only what was lost is sent again"


def test_get_and_get_of_what_is_not_there() -> None:
    pair = Pair()
    pair.stores[1].files["log.txt"] = b"all is well"
    asked = pair.ground.get(0, "log.txt", "logs/today.txt", peer=SPACE)
    missing = pair.ground.get(0, "no.txt", "no.txt", peer=SPACE, class_=1)
    assert pair.run(pair.ended)
    assert pair.stores[0].files == {"logs/today.txt": b"all is well"}
    records = {one.key: one for one in pair.ground.records()}
    answer = records[asked].answered_by
    assert answer is not None
    assert records[answer].origin == asked
    assert records[answer].kind is Kind.RECEIVE
    assert (records[missing].state, records[missing].condition) == (
        State.FAILED,
        "filestore_rejection",
    )


@pytest.mark.parametrize("by", ["sender", "receiver"])
@pytest.mark.parametrize("class_", [1, 2])
def test_cancel(by: str, class_: int) -> None:
    pair = Pair(octets_s=10)
    offer(pair, 30_000)
    key = pair.ground.put(0, "data.bin", "copy", peer=SPACE, class_=class_)
    assert pair.run(lambda: bool(pair.space.records()))
    (pair.ground if by == "sender" else pair.space).cancel(pair.now_ns, key)
    pair.run(lambda: all(one.state.ended for one in pair.space.records()))
    assert pair.stores[1].files == {}
    assert pair.space.records()[0].state is State.CANCELLED
    assert not pair.stores[1]._parts
    if class_ == 2 or by == "sender":
        assert pair.run(pair.ended)
        assert pair.ground.records()[0].state is State.CANCELLED
    with pytest.raises(LocalError, match="cancelled"):
        pair.space.cancel(pair.now_ns, key)


def test_suspended_and_without_link_time_stands_still() -> None:
    pair = Pair()
    data = offer(pair, 5_000)
    key = pair.ground.put(0, "data.bin", "copy", peer=SPACE)
    pair.ground.suspend(0, key)
    assert pair.ground.take(0, 10_000) == []
    assert pair.ground.next_deadline_ns is None
    ten_years_ns = 10 * 365 * 86_400 * S
    pair.now_ns = ten_years_ns
    pair.ground.resume(pair.now_ns, key)
    pair.ground.link(pair.now_ns, up=False)
    assert pair.ground.take(pair.now_ns, 10_000) == []
    pair.now_ns *= 2
    pair.ground.link(pair.now_ns, up=True)
    assert pair.run(pair.ended)
    assert pair.stores[1].files == {"copy": data}


@pytest.mark.parametrize("class_", [1, 2])
def test_a_peer_that_falls_silent_is_given_up(class_: int) -> None:
    pair = Pair(drop=lambda side, pdu: side == 0 and directive(pdu) is DirectiveType.EOF_PDU)
    offer(pair, 5_000)
    pair.ground.put(0, "data.bin", "copy", peer=SPACE, class_=class_)
    assert pair.run(pair.ended, days=30)
    assert pair.stores[1].files == {}
    failed = [*pair.space.records(), *(pair.ground.records() if class_ == 2 else ())]
    assert {one.state for one in failed} == {State.FAILED}
    assert pair.space.records()[0].condition == "inactivity_detected"


def test_refused_by_the_store() -> None:
    pair = Pair()
    offer(pair, 5_000)
    pair.stores[1].capacity = 4_000
    pair.ground.put(0, "data.bin", "copy", peer=SPACE)
    assert pair.run(pair.ended)
    assert pair.ground.records()[0].condition == "filestore_rejection"
    assert pair.stores[1].files == {}


def test_what_was_changed_later_is_not_sent() -> None:
    pair = Pair(octets_s=100)
    data = offer(pair, 9_000)
    pair.ground.put(0, "data.bin", "copy", peer=SPACE)
    pair.turn()
    pair.stores[0].files["data.bin"] = b"something else"
    assert pair.run(pair.ended)
    assert pair.stores[1].files == {"copy": data}


def test_notices() -> None:
    pair = Pair()
    offer(pair, 100)
    pair.ground.put(0, "data.bin", "copy", peer=SPACE)
    assert pair.run(pair.ended)
    assert [one.what for one in pair.ground.notices()] == [Happening.BEGUN, Happening.SENT]
    assert [one.what for one in pair.space.notices()] == [Happening.BEGUN, Happening.RECEIVED]
    assert pair.ground.notices() == []


@pytest.mark.parametrize("name", ["", "/etc/passwd", "a/../b", "x" * 256, "a\\b", "a\nb"])
def test_names(name: str) -> None:
    pair = Pair()
    offer(pair, 10)
    with pytest.raises(LocalError, match="name"):
        pair.ground.put(0, "data.bin", name, peer=SPACE)
    with pytest.raises(LocalError, match="name"):
        pair.ground.get(0, name, "x", peer=SPACE)
    # A peer that sends one all the same.
    pair.stores[0].hold((GROUND, 7), "data.bin")
    assert pair.stores[1].accept((GROUND, 7), name, 10)


def test_requests_that_cannot_be() -> None:
    pair = Pair()
    offer(pair, 10)
    with pytest.raises(LocalError, match="no file 'other'"):
        pair.ground.put(0, "other", "copy", peer=SPACE)
    with pytest.raises(LocalError, match="entity 77 is unknown; known are 20"):
        pair.ground.put(0, "data.bin", "copy", peer=77)
    with pytest.raises(LocalError, match="class 3"):
        pair.ground.put(0, "data.bin", "copy", peer=SPACE, class_=3)
    with pytest.raises(LocalError, match="no transaction 1:2"):
        pair.ground.suspend(0, (1, 2))
    assert pair.ground.records() == []


@given(st.binary(max_size=80))
def test_arbitrary_octets(octets: bytes) -> None:
    try:
        pdu = parse_pdu(octets)
    except RemoteError:
        return
    assert pdu.packet_len == len(octets)


@given(st.integers(0, 10_000), st.randoms(use_true_random=False))
def test_changed_octets_do_no_harm(seed: int, rng: random.Random) -> None:
    pair = _HEARD
    pdu = bytearray(rng.choice(_PDUS[rng.randrange(2)]))
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(pdu))
        pdu[at] ^= 1 << rng.randrange(8)
    # Without the CRC's protection, half of the time.
    if rng.random() < 0.5:
        pdu[0] &= ~0x02
        pdu[1:3] = (len(pdu) - 4 - 2 - 4).to_bytes(2, "big")
    pair.ground.hear(0, [bytes(pdu[: rng.randrange(len(pdu) + 1)]), bytes(pdu)])
    pair.space.hear(0, [bytes(pdu)])
    pair.ground.take(0, 3_000)
    pair.space.take(0, 3_000)


def _heard() -> Pair:
    pair = Pair(loss=0.2, seed=5)
    offer(pair, 20_000)
    pair.ground.put(0, "data.bin", "copy", peer=SPACE)
    pair.ground.get(0, "x", "y", peer=SPACE)
    assert pair.run(pair.ended)
    return pair


_PDUS = _heard().log
_HEARD = Pair()
