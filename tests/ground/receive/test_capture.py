"""The capture: Wireshark opens it, a torn tail is cut, nothing acknowledged is lost."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ground.ports import LinkChunk
from ground.receive import pcapng
from ground.receive.capture import (
    MAX_PIECE_OCTETS,
    START,
    CapturePosition,
    CaptureReader,
    CaptureWriter,
)
from protocols.errors import LocalError
from protocols.timecodes.tai import tai_ns_from_utc_iso

T0 = tai_ns_from_utc_iso("2026-11-22T21:00:00Z")


def chunk(
    sequence: int, octets: bytes = b"", *, stream: str = "run1", ert_ns: int = T0
) -> LinkChunk:
    return LinkChunk(stream, sequence, ert_ns + sequence * 1_000_000, octets)


def chunks(path: Path) -> list[LinkChunk]:
    return [captured.chunk for captured in CaptureReader(path).read()]


@pytest.mark.program("tshark")
def test_tshark_reads_times_interfaces_sequences_and_octets(tmp_path: Path) -> None:
    written = [
        chunk(0, b"\x1a\xcf\xfc\x1d" * 3),
        chunk(0, b"other", stream="run2"),
        chunk(1, b"x"),
    ]
    with CaptureWriter(tmp_path, link="downlink") as writer:
        writer.append(written)
        path = writer.path
    fields = ["frame.interface_name", "frame.time_epoch", "frame.packet_id", "frame.len"]
    run = subprocess.run(
        ["tshark", "-r", str(path), "-T", "fields", "-E", "separator=;"]
        + [f"-e{name}" for name in fields],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    rows = [line.split(";") for line in run.stdout.splitlines()]
    assert [row[0] for row in rows] == ["downlink/run1", "downlink/run2", "downlink/run1"]
    # 2026-11-22T21:00:00Z in Unix time, and 1 ms a chunk.
    assert [row[1].rstrip("0").rstrip(".") for row in rows] == [
        "1795381200",
        "1795381200",
        "1795381200.001",
    ]
    assert [int(row[2]) for row in rows] == [0, 0, 1]
    assert [int(row[3]) for row in rows] == [12, 5, 1]


@pytest.mark.program("capinfos")
def test_capinfos_finds_the_file_sound(tmp_path: Path) -> None:
    with CaptureWriter(tmp_path, link="downlink") as writer:
        writer.append([chunk(i, bytes(700 + i)) for i in range(50)])
        path = writer.path
    run = subprocess.run(
        ["capinfos", "-T", "-m", "-c", "-d", str(path)],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert run.stdout.splitlines()[-1].endswith(f"50,{sum(700 + i for i in range(50))}")


def test_reading_continues_from_any_position(tmp_path: Path) -> None:
    written = [chunk(i, bytes([i]) * (i * 37 % 211)) for i in range(60)]
    with CaptureWriter(tmp_path, link="downlink", rotate_octets=4096) as writer:
        positions = [c.position for one in written for c in writer.append([one])]
        assert writer.position == positions[-1]
    assert len(list(tmp_path.glob("*.pcapng"))) > 1
    assert positions == sorted(positions)
    reader = CaptureReader(tmp_path)
    assert [c.position for c in reader.read()] == positions
    for i, position in enumerate([START, *positions]):
        assert [c.chunk for c in reader.read(CapturePosition(*tuple(position)))] == written[i:]


def test_reopening_resumes_every_stream_over_rotations(tmp_path: Path) -> None:
    with CaptureWriter(tmp_path, link="downlink", rotate_octets=4096) as writer:
        writer.append([chunk(7, b"a", stream="old")])
        for i in range(40):
            writer.append([chunk(i, bytes(300))])
    with CaptureWriter(tmp_path, link="downlink", rotate_octets=4096) as writer:
        assert writer.resume == {"old": 7, "run1": 39}
        assert writer.append([chunk(39, b"again"), chunk(40, b"new")])[0].chunk.octets == b"new"
        assert writer.duplicates == 1
    assert [c.sequence for c in chunks(tmp_path)] == [7, *range(41)]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_torn_tail_is_cut_and_what_was_whole_stays(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("torn")
    written = [chunk(i, bytes([65 + i]) * (11 * i + 1)) for i in range(5)]
    with CaptureWriter(directory, link="downlink") as writer:
        ends = [c.position.offset for c in writer.append(written)]
        path = writer.path
    whole = path.read_bytes()
    size = data.draw(st.integers(0, ends[-1]), label="size")
    os.truncate(path, size)
    if data.draw(st.booleans(), label="zeros behind"):
        with path.open("ab") as file:
            file.write(bytes(data.draw(st.integers(1, 64))))
    # Zeros in place of cut zeros make a block whole again.
    left = path.read_bytes()
    kept = [c for c, end in zip(written, ends, strict=True) if left[:end] == whole[:end]]
    assert chunks(directory) == kept
    with CaptureWriter(directory, link="downlink") as writer:
        assert writer.resume == ({"run1": len(kept) - 1} if kept else {})
        writer.append([chunk(len(kept), b"next")])
    assert chunks(directory) == [*kept, chunk(len(kept), b"next")]
    reader = CaptureReader(directory)
    assert len(list(reader.read())) == len(kept) + 1
    assert reader.torn_octets == reader.damaged_octets == 0


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damage_in_the_middle_costs_what_it_hits_and_is_never_cut(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("damage")
    written = [chunk(i, bytes([65 + i]) * 40) for i in range(8)]
    with CaptureWriter(directory, link="downlink") as writer:
        ends = [c.position.offset for c in writer.append(written)]
        path = writer.path
    octets = bytearray(path.read_bytes())
    hit = data.draw(st.integers(1, 6), label="chunk hit")
    # One of the two copies of the block's length.
    at = ends[hit - 1] + data.draw(st.sampled_from([4, 5, 6, 7]))
    octets[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(octets)
    reader = CaptureReader(directory)
    found = [c.chunk for c in reader.read()]
    assert found == [c for c in written if c.sequence != hit]
    assert reader.damaged_octets == ends[hit] - ends[hit - 1]
    with CaptureWriter(directory, link="downlink") as writer:
        writer.append([chunk(8, b"next")])
        assert writer.position.file == 1
    assert path.read_bytes() == octets
    assert [c.chunk.sequence for c in CaptureReader(directory).read()] == [
        *(c.sequence for c in found),
        8,
    ]


@settings(max_examples=80, deadline=None)
@given(noise=st.binary(max_size=600), cut=st.integers(0, 400))
def test_noise_raises_nothing(
    noise: bytes, cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("noise")
    with CaptureWriter(directory, link="downlink") as writer:
        writer.append([chunk(i, bytes(30)) for i in range(4)])
        path = writer.path
    whole = path.read_bytes()
    path.write_bytes(whole[:cut] + noise + whole[cut:])
    list(CaptureReader(directory).read())
    with CaptureWriter(directory, link="downlink") as writer:
        writer.append([chunk(99, b"after")])
    assert chunks(directory)[-1] == chunk(99, b"after")


def test_leap_second_and_times_before_1970_survive(tmp_path: Path) -> None:
    inside = tai_ns_from_utc_iso("2016-12-31T23:59:60.25Z")
    behind = tai_ns_from_utc_iso("2017-01-01T00:00:00.25Z")
    assert behind - inside == 1_000_000_000
    written = [
        LinkChunk("run1", 0, inside, b"in the leap second"),
        LinkChunk("run1", 1, behind, b"behind it"),
        LinkChunk("run1", 2, 0, b"the epoch"),
        LinkChunk("run1", 3, -5, b"before the epoch"),
    ]
    with CaptureWriter(tmp_path, link="downlink") as writer:
        writer.append(written)
    assert chunks(tmp_path) == written


def test_long_chunk_is_written_in_pieces_and_read_as_one(tmp_path: Path) -> None:
    long = chunk(0, os.urandom(2 * MAX_PIECE_OCTETS + 17))
    with CaptureWriter(tmp_path, link="downlink") as writer:
        end = writer.append([long])[0].position.offset
        path = writer.path
    assert chunks(tmp_path) == [long]
    # Without its last piece it is no chunk, and is cut as a whole.
    os.truncate(path, end - 64)
    with CaptureWriter(tmp_path, link="downlink") as writer:
        assert writer.resume == {}
        writer.append([chunk(0, b"again")])
    assert chunks(tmp_path) == [chunk(0, b"again")]


def test_one_writer_at_a_time_and_sensible_arguments(tmp_path: Path) -> None:
    with (
        CaptureWriter(tmp_path, link="downlink"),
        pytest.raises(LocalError, match="another process"),
    ):
        CaptureWriter(tmp_path, link="downlink")
    with pytest.raises(LocalError, match="without /"):
        CaptureWriter(tmp_path, link="a/b")
    with pytest.raises(LocalError, match="at least 4096"):
        CaptureWriter(tmp_path, link="a", rotate_octets=1)


def test_full_disk_leaves_the_capture_whole(tmp_path: Path) -> None:
    with CaptureWriter(tmp_path, link="downlink") as writer:
        writer.append([chunk(0, b"before")])
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        # A limit inside the second chunk: the first write is short, the next one fails.
        resource.setrlimit(resource.RLIMIT_FSIZE, (writer.position.offset + 900, hard))
        try:
            with pytest.raises(OSError, match="too large"):
                writer.append([chunk(1, bytes(500)), chunk(2, bytes(500))])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert writer.resume == {"run1": 0}
        writer.append([chunk(1, b"after")])
    assert chunks(tmp_path) == [chunk(0, b"before"), chunk(1, b"after")]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=5, max_size=5))
def test_fast_layouts_are_those_of_the_declarations(numbers: list[int]) -> None:
    """The derived layouts read and write what construct reads and writes."""
    names = [member.name for member in pcapng.ENHANCED_PACKET_BODY.subcons]
    built = pcapng.ENHANCED_PACKET_BODY.build(dict(zip(names, numbers, strict=True)))
    assert pcapng.LITTLE.enhanced.pack(*numbers) == built
    assert list(pcapng.BIG.enhanced.unpack(pcapng.BIG.enhanced.pack(*numbers))) == numbers
    block = pcapng.build_block(numbers[0], built)
    header = pcapng.BLOCK_HEADER.parse(block)
    assert (header.type, header.total_length) == (numbers[0], len(block))
    option = pcapng.OPTION_HEADER.parse(pcapng.build_option(numbers[1] & 0xFFFF, built))
    assert (option.code, option.length) == (numbers[1] & 0xFFFF, len(built))


def test_killed_while_the_next_file_begins_it_knows_what_was_acknowledged(tmp_path: Path) -> None:
    """The next file appears with its head, which says how far each stream is, or not at all."""
    with CaptureWriter(tmp_path, link="downlink", rotate_octets=4096) as writer:
        writer.append([chunk(i, bytes(300)) for i in range(20)])
    # As a kill leaves it that comes while the head is written.
    (tmp_path / "capture-000001.pcapng.new").write_bytes(b"\x0a\x0d\x0d\x0a")
    with CaptureWriter(tmp_path, link="downlink", rotate_octets=4096) as writer:
        assert writer.resume == {"run1": 19}
        writer.append([chunk(20, b"next")])
        assert writer.path.name == "capture-000001.pcapng"
    assert [c.sequence for c in chunks(tmp_path)] == list(range(21))


def test_a_disk_that_is_full_at_the_next_file_leaves_the_capture_as_it_was(tmp_path: Path) -> None:
    with CaptureWriter(tmp_path, link="downlink", rotate_octets=4096) as writer:
        writer.append([chunk(i, bytes(300)) for i in range(20)])
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (16, before[1]))
        try:
            with pytest.raises(OSError, match=r"large|space"):
                writer.append([chunk(20, b"next")])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        assert writer.resume == {"run1": 19}
        writer.append([chunk(20, b"next")])
    assert [c.sequence for c in chunks(tmp_path)] == list(range(21))


def test_what_the_disk_refused_to_keep_is_not_believed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fdatasync fails once; the next would succeed, without the octets."""
    writer = CaptureWriter(tmp_path, link="downlink")
    writer.append([chunk(0, b"kept")])
    writer.sync()
    writer.append([chunk(1, b"refused"), chunk(2, b"refused")])
    real = os.fdatasync

    def failing(file: int) -> None:
        monkeypatch.setattr(os, "fdatasync", real)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fdatasync", failing)
    with pytest.raises(OSError, match="Input/output error"):
        writer.sync()
    for again in (writer.sync, lambda: writer.append([chunk(3, b"more")])):
        with pytest.raises(OSError, match="Input/output error"):
            again()
    writer.close()
    with CaptureWriter(tmp_path, link="downlink") as writer:
        assert writer.resume == {"run1": 0}
        writer.append([chunk(1, b"again"), chunk(2, b"again")])
    assert [one.octets for one in chunks(tmp_path)] == [b"kept", b"again", b"again"]
