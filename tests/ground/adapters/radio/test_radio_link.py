"""A radio in the place of the station: numbering, recordings that go on, uplink once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ground.adapters.radio.adapter import Block, Signal
from ground.adapters.radio.link import RadioLink
from ground.adapters.radio.loopback import LoopbackAdapter, channel
from ground.adapters.radio.registry import open_adapter
from ground.adapters.radio.rtl_tcp import RtlTcpPeer
from ground.adapters.radio.sigmf_file import SigMFWriter
from ground.config import RunSettings
from ground.ports import LinkChunk, LinkState
from ground.receive.profile import load_profile
from ground.wiring import open_link
from protocols.bus.messages import UplinkMessage
from protocols.errors import LocalError
from protocols.identifiers import Carrier
from protocols.physical.sample_block import UNKNOWN, parse_sample_block
from protocols.physical.samples import sample_format

PATIENCE_S = 10.0


class Hand:
    """A clock that stands where it is put."""

    now = 1_000

    def now_ns(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest.fixture
def links(tmp_path: Path, clock: Hand) -> Iterator[Callable[[str], RadioLink]]:
    opened: list[RadioLink] = []

    def link(uri: str) -> RadioLink:
        adapter = open_adapter(uri, now_ns=clock.now_ns)
        opened.append(RadioLink("downlink", adapter, clock.now_ns, tmp_path / "uplink.jsonl"))
        return opened[-1]

    yield link
    for each in opened:
        each.close()


def take(link: RadioLink, count: int) -> list[LinkChunk]:
    found: list[LinkChunk] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} chunks"
        found += link.receive(0.02)
    return found


def until_ok(link: RadioLink) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while link.statistics().state is not LinkState.OK:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def up(name: str, earliest_ns: int = 0, latest_ns: int = 1 << 60) -> UplinkMessage:
    octets = name.encode()
    return UplinkMessage(name, "command", Carrier.COMMAND, octets, earliest_ns, latest_ns)


def sent(name: str) -> list[bytes]:
    found = []
    while not channel(name).up.empty():
        found.append(channel(name).up.get_nowait())
    return found


def test_a_recording_goes_on_after_what_is_on_disk(
    tmp_path: Path, links: Callable[[str], RadioLink]
) -> None:
    path = tmp_path / "frames.u8"
    path.write_bytes(bytes(range(100)))
    uri = f"file:{path}?frame_length=10"
    first = links(uri)
    first.open({})
    chunks = take(first, 10)
    assert b"".join(chunk.octets for chunk in chunks) == bytes(range(100))
    assert [chunk.sequence for chunk in chunks] == list(range(10))
    first.close()
    again = links(uri)
    again.open({chunks[0].stream: 6})
    assert [(chunk.sequence, chunk.octets[0]) for chunk in take(again, 3)] == [
        (7, 70),
        (8, 80),
        (9, 90),
    ]
    assert again.receive(0.02) == []
    assert again.statistics().state is LinkState.OK
    # As long, under the same name, and not the same.
    path.write_bytes(bytes(range(100, 200)))
    other = links(uri)
    other.open({chunks[0].stream: 9})
    whole = take(other, 10)
    assert (whole[0].sequence, whole[0].octets[0]) == (0, 100)


def test_each_run_of_a_live_wire_is_a_stream_of_its_own(
    links: Callable[[str], RadioLink], clock: Hand
) -> None:
    channel("own").down.put(b"one")
    first = links("loopback:own")
    first.open({})
    (one,) = take(first, 1)
    assert one.ert_ns == clock.now
    first.close()
    clock.now += 1
    channel("own").down.put(b"two")
    second = links("loopback:own")
    second.open({one.stream: 0})
    (two,) = take(second, 1)
    assert (two.sequence, two.octets) == (0, b"two")
    assert two.stream != one.stream


def test_uplink_leaves_at_its_time_and_is_answered(
    links: Callable[[str], RadioLink], clock: Hand
) -> None:
    link = links("loopback:times")
    assert not link.send(up("too early")), "not open yet"
    link.open({})
    until_ok(link)
    assert link.send(up("later", earliest_ns=5_000))
    assert link.send(up("now"))
    assert sent("times") == [b"now"]
    clock.now = 5_000
    link.receive(0)
    assert sent("times") == [b"later"]
    assert [(fate.id, fate.start_ns, fate.refused) for fate in link.radiated()] == [
        ("now", 1_000, ""),
        ("later", 5_000, ""),
    ]
    assert link.send(up("over", latest_ns=4_999))
    (fate,) = link.radiated()
    assert "its time was over" in fate.refused
    assert sent("times") == []


def test_an_id_goes_up_once_also_after_a_kill(
    links: Callable[[str], RadioLink], clock: Hand
) -> None:
    link = links("loopback:kill")
    link.open({})
    until_ok(link)
    assert link.send(up("a"))
    (fate,) = link.radiated()
    # The process is gone without a word; the next finds its file, its last line torn.
    with link._log._path.open("ab") as file:
        file.write(b'{"fate": {"id": "b"')
    clock.now += 1_000
    again = links("loopback:kill")
    again.open({})
    until_ok(again)
    assert again.send(up("a"))
    assert again.radiated() == [fate]
    assert again.send(up("b"))
    assert sent("kill") == [b"a", b"b"]


def test_what_the_wire_does_not_take_has_not_gone_up(
    links: Callable[[str], RadioLink], monkeypatch: pytest.MonkeyPatch
) -> None:
    link = links("loopback:full")
    link.open({})
    until_ok(link)
    monkeypatch.setattr(LoopbackAdapter, "write", lambda self, octets: False)
    assert link.send(up("a"))
    assert link.radiated() == []
    monkeypatch.undo()
    again = links("loopback:full")
    again.open({})
    until_ok(again)
    assert again.send(up("a"))
    assert sent("full") == [b"a"]


def test_what_cannot_go_up_is_refused_with_its_reason(
    links: Callable[[str], RadioLink], tmp_path: Path
) -> None:
    path = tmp_path / "frames"
    path.write_bytes(b"x")
    link = links(f"file:{path}")
    link.open({})
    assert link.send(up("a"))
    assert [fate.refused for fate in link.radiated()] == ["file does not transmit"]
    other = links("loopback:carrier")
    other.open({})
    relay = UplinkMessage("r", "relay", Carrier.RELAY, b"x", 0, 1)
    assert other.send(relay)
    assert [fate.refused for fate in other.radiated()] == ["this link transmits command, not relay"]


def test_disabled_it_takes_nothing_and_says_so(links: Callable[[str], RadioLink]) -> None:
    link = links("loopback:disabled")
    link.open({})
    until_ok(link)
    link.disable()
    assert link.statistics().state is LinkState.DISABLED
    channel("disabled").down.put(b"x")
    assert link.receive(0.1) == []
    assert not link.send(up("a"))
    link.enable()
    assert [chunk.octets for chunk in take(link, 1)] == [b"x"]


def test_the_mission_says_how_long_frames_are_unless_the_address_does(tmp_path: Path) -> None:
    danuri = load_profile("danuri")
    for uri, length, kind in (
        ("udp://127.0.0.1:0", danuri.frame_length, "frames"),
        ("udp://127.0.0.1:0?frame_length=99", 99, "frames"),
        ("udp://127.0.0.1:0?carries=codewords", danuri.block_length, "codewords"),
        ("udp://127.0.0.1:0?carries=cadu", 0, "cadu"),
        ("tcp://127.0.0.1:9", None, "cadu"),
    ):
        link, profile = open_link(RunSettings(tmp_path, radio=uri), danuri)
        assert isinstance(link, RadioLink)
        assert link._adapter.options.get("frame_length") == length
        assert profile.input == kind


def test_addresses_that_name_nothing_are_errors_that_list_what_there_is(tmp_path: Path) -> None:
    for uri, says in (
        ("nonsense", "no adapter's address; SCHEME"),
        ("rdio://x", r"'rdio'; difi, file, .*udp.* are installed"),
        ("udp://127.0.0.1", "udp://HOST:PORT wanted"),
        ("udp://127.0.0.1:1?lenght=3", r"no option 'lenght'; frame_length, carries, to, skip"),
        ("file:x?mode=append", "mode='append': read, or write"),
    ):
        with pytest.raises(LocalError, match=says):
            open_adapter(uri).address.host_and_port()


def test_samples_go_on_with_what_they_are_and_what_is_missing(
    links: Callable[[str], RadioLink], tmp_path: Path, clock: Hand
) -> None:
    signal = Signal(sample_format("cu8"), 1e6, 8.4e9)
    recording = tmp_path / "pass.sigmf-meta"
    writer = SigMFWriter(recording, signal)
    writer.write([Block(b"12", 5, lost=UNKNOWN), Block(b"3456", 7, lost=12)])
    writer.write([Block(b"78", 9, lost=5), Block(b"90", 11, lost=UNKNOWN)])
    writer.close()
    uri = f"sigmf:{recording}"
    link = links(uri)
    link.open({})
    chunks = take(link, 5)
    blocks = [parse_sample_block(chunk.octets) for chunk in chunks]
    assert [block.octets for block in blocks] == [b"12", b"3456", b"78", b"90", b""]
    # It ends by saying so: what the receiver still holds is all there will be.
    assert [block.lost for block in blocks] == [0, 12, 5, UNKNOWN, UNKNOWN]
    assert {(b.format.name, b.sample_rate_hz, b.centre_hz) for b in blocks} == {("cu8", 1e6, 8.4e9)}
    assert [chunk.sequence for chunk in chunks] == [0, 1, 2, 3, 4]
    assert link.statistics().octets_in == 10
    # Gone on with where it was, with what is missing there and nothing of what was before.
    for had, lost in ((0, [12, 5, UNKNOWN, UNKNOWN]), (1, [5, UNKNOWN, UNKNOWN])):
        again = links(uri)
        again.open({chunks[0].stream: had})
        assert [parse_sample_block(chunk.octets).lost for chunk in take(again, len(lost))] == lost
        assert again.statistics().gaps == len(lost) - 1
        again.close()
    # Of a live wire the time before it was opened is missing.
    server = RtlTcpPeer()
    live = links(f"{server.uri}?rate=250000&freq=1")
    live.open({})
    until_ok(live)
    server.send([b"abcd"])
    assert parse_sample_block(take(live, 1)[0].octets).lost == UNKNOWN
    server.leave()
    end = parse_sample_block(take(live, 1)[0].octets)
    assert (end.octets, end.lost) == (b"", UNKNOWN)
    server.close()


def test_commands_are_not_sent_as_samples(links: Callable[[str], RadioLink]) -> None:
    link = links("zmq-iq://127.0.0.1:9?out=127.0.0.1:8&rate=1e6")
    link.open({})
    assert link.send(up("a"))
    (fate,) = link.radiated()
    assert "a modulator of octets is wanted" in fate.refused
