"""What services say to one another, and what others say to them: bus, link, calls, the console."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import msgpack

from ground.answering import _answered
from ground.client.errors import GroundError
from ground.client.samples import read_samples
from ground.command.arguments import parse_arguments, parse_time
from protocols.bus import messages
from protocols.bus.access import Door, Holder, Key, holder_of
from protocols.bus.agent import Request, parse_from_node
from protocols.bus.calls import Answer, Call
from protocols.bus.envelope import Envelope, build_envelope, parse_envelope
from protocols.bus.link import (
    Chunk,
    build_acknowledge,
    build_chunk,
    build_hello,
    build_radiated,
    build_state,
    build_uplink,
    parse_downlink,
    parse_to_station,
)
from protocols.bus.link import State as LinkState
from protocols.bus.messages import BusMessage
from protocols.bus.pass_list import build_pass_list, parse_pass_list
from protocols.bus.replay import (
    PullReply,
    PullRequest,
    build_data,
    build_pull,
    build_record,
    parse_data,
    parse_pull,
    parse_record,
)
from protocols.bus.zap import CURVE, KEY_OCTETS, OK, ZapRequest, build_reply
from protocols.dictionary.l4_commands import COMMANDS
from protocols.errors import LocalError, RemoteError
from tests.fuzz.target import Target, examples, joined, parts
from tests.protocols.bus import test_messages

T0: Final = 2_000_000_000 * 10**9
NESTED: Final = (b"\x91" * 40, b"\x81\xa1a" * 20, b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff",
                 b"\xdb\xff\xff\xff\xff", b"\xcb\x7f\xf8" + bytes(6), b"\xd9\xff", b"\xc0",
                 b"\xcf" + b"\xff" * 8, b"\xd3\x80" + bytes(7))  # fmt: skip


def kinds() -> list[type[BusMessage]]:
    found = [getattr(messages, name) for name in dir(messages)]
    return [
        one
        for one in found
        if isinstance(one, type) and issubclass(one, BusMessage) and one is not BusMessage
    ]


@cache
def bodies() -> list[bytes]:
    """Several of each kind."""
    return [one.build() for one in examples(test_messages.MESSAGES, 60)]


UPLINK: Final = messages.UplinkMessage("id-1", "command", "command", b"octets", T0, T0 + 10**12)


def body(octets: bytes) -> None:
    """As a message of every kind: a publisher decides what stands under a topic."""
    refused = 0
    for kind in kinds():
        try:
            found = messages.parse(kind, octets)
        except RemoteError:
            refused += 1
            continue
        assert messages.parse(kind, found.build()).build() == found.build()
    if refused == len(kinds()):
        raise RemoteError("of no kind")


def envelope(octets: bytes) -> None:
    found = parse_envelope(parts(octets))
    assert parse_envelope(build_envelope(found)) == found


def link(octets: bytes) -> None:
    given = parts(octets)
    try:
        parse_to_station(given)
    except RemoteError:
        parse_downlink(given)


def replay(octets: bytes) -> None:
    given = parts(octets, 6)
    try:
        parse_pull(given)
    except RemoteError:
        for record in parse_data(given)[1]:
            parse_record(record)


def calls(octets: bytes) -> None:
    """A service answers whatever it is asked; nothing gets out of its loop."""

    def handle(key: str, operation: str, arguments: dict[str, Any]) -> Any:
        raise LocalError(f"{operation} of {sorted(arguments)}")

    answer = _answered(octets, handle)
    Answer.parse(answer.build())
    Call.parse(octets)


def arguments(octets: bytes) -> None:
    texts = octets.decode("utf-8", "replace").split("\n")
    names = [command.name for command in COMMANDS.commands]
    name = texts[0] if texts[0] in names else names[len(octets) % len(names)]
    given = parse_arguments(COMMANDS, name, texts[1:], now_ns=T0)
    COMMANDS.build(name, given)


def argument_seeds() -> list[bytes]:
    return [
        b"MODE_SET\nMODE=safe",
        b"HK_ENABLE\nSTRUCTURES=1,0x10",
        b"SCHEDULE_INSERT\nTIME=+2h\nREQUEST=MODE_SET(MODE=SAFE)",
        b"ARRAY_TURN\nANGLE=12.5",
    ]


def engine() -> Callable[[bytes], None]:
    """The command service with a store in memory: operations by name with whatever arguments."""

    @cache
    def world() -> Any:
        from tests.ground.command.world import World

        return World()

    def run(octets: bytes) -> None:
        one = world()

        def handle(key: str, operation: str, given: dict[str, Any]) -> Any:
            return one.engine.operate(one.now_ns, key, operation, given)

        answer = _answered(octets, handle)
        Answer.parse(answer.build())

    return run


def engine_seeds() -> list[bytes]:
    asked: list[tuple[str, dict[str, Any]]] = [
        ("add", {"actor": "ann", "name": "TEST_CONNECTION", "arguments": {}}),
        ("requests", {"actor": "ann"}),
        ("request", {"actor": "ann", "number": 1}),
        ("arm", {"actor": "ann", "number": 1}),
        ("send", {"actor": "ann", "number": 1}),
        ("approve", {"actor": "bob", "number": 1}),
        ("cancel", {"actor": "ann", "number": 1}),
        ("link", {"actor": "ann"}),
        ("direct", {"actor": "ann", "directive": "terminate", "value": 0}),
        ("procedures", {"actor": "ann"}),
        ("run", {"actor": "ann", "procedure": "start_of_pass", "arguments": {}}),
        ("files", {"actor": "ann"}),
        ("history", {"actor": "ann", "limit": 10}),
    ]
    return [Call(f"key-{n}", *one).build() for n, one in enumerate(asked)]


def samples() -> list[bytes]:
    import pyarrow as pa

    about = {"name": "X", "unit": "V", "axis": "scet", "labels": '{"0": "OFF"}'}
    schema = pa.schema(
        [("scet_ns", pa.int64()), ("ert_ns", pa.int64()), ("value", pa.float64())], about
    )
    batch = pa.record_batch([pa.array([1, 2]), pa.array([3, 4]), pa.array([1.5, None])], schema)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(batch)
    return [sink.getvalue().to_pybytes()]


def passes() -> list[bytes]:
    found = [
        one
        for one in examples(test_messages.MESSAGES, 100)
        if isinstance(one, messages.PassesMessage)
    ]
    return [build_pass_list(one).encode() for one in found[:4]]


def key_file(octets: bytes) -> None:
    """What is read is built and read again as the same, and says who it is at any time."""
    holder = Holder.parse(octets.decode("ascii", "replace"))
    assert Holder.parse(holder.build()) == holder
    assert not any(key.secret for key in holder.public_only.keys)
    for now_s in (0.0, 2e9, float(max(key.valid_from_s for key in holder.keys))):
        assert holder.accepts(holder.in_force(now_s).public, now_s)
        assert all(
            holder_of([holder], key.public, door, now_s) in (None, holder)
            for key in holder.keys
            for door in Door
        )


def key_files() -> list[bytes]:
    first, second = Key("a" * 40, 1_700_000_000, "b" * 40), Key("c" * 40, 1_800_000_000)
    return [
        Holder("bus", "bus", (first,)).build().encode(),
        Holder("ann", "operator", (first, second)).build().encode(),
        Holder("receive.yeoju", "receive", (second,)).build().encode(),
    ]


def zap(octets: bytes) -> None:
    request = ZapRequest.parse(parts(octets, 8))
    if request.mechanism == CURVE:
        assert len(request.key) == KEY_OCTETS
    build_reply(request.number, OK, "", "bus")


TARGETS: Final = [
    Target("bus-envelope", "protocols.bus.envelope.parse_envelope", envelope,
           lambda: [joined(build_envelope(Envelope("events", "monitor", "j1", 7, T0, b"body")))],
           tokens=NESTED),
    Target("bus-body", "protocols.bus.messages.parse", body, bodies,
           tokens=NESTED, short=60),
    Target("link-message", "protocols.bus.link.parse_to_station, parse_downlink", link,
           lambda: [joined(one) for one in (
               build_hello(3, {"s": 4}), build_acknowledge("s", 5),
               build_uplink(UPLINK),
               build_radiated(messages.RadiatedMessage("id-1", "command", "command", T0, T0 + 1)),
               build_chunk(Chunk("s", 7, T0, b"octets")),
               build_state(LinkState("s", 0, True, 4.0)))],
           tokens=NESTED),
    Target("replay-message", "protocols.bus.replay.parse_pull, parse_data", replay,
           lambda: [joined(build_pull(PullRequest(1, "events", "j1", 0))),
                    joined(build_data(PullReply(1, "events", "j1", 0, 2),
                                      [build_record(T0, b"one"), build_record(T0, b"two")]))],
           tokens=NESTED),
    Target("call", "ground.answering.CallServer", calls, engine_seeds, tokens=NESTED),
    Target("answer", "protocols.bus.calls.Answer.parse", Answer.parse,
           lambda: [Answer("key", {"a": [1, 2.5, None, b"x"]}).build(),
                    Answer("key", error="no").build()], tokens=NESTED),
    Target("command-service", "ground.command.engine.CommandEngine.operate", engine(),
           engine_seeds, tokens=NESTED, short=60),
    Target("agent-request", "protocols.bus.agent.Request.parse", Request.parse,
           lambda: [Request(1, "send", {"payload": b"x", "destination": "ipn:2.1"}).build(),
                    Request(2, "register", {"endpoint": "ipn:2.1"}).build()], tokens=NESTED),
    Target("agent-answer", "protocols.bus.agent.parse_from_node", parse_from_node,
           lambda: [msgpack.packb({"id": 1, "result": {}, "error": ""}),
                    msgpack.packb({"ref": 1, "source": "ipn:1.1", "destination": "ipn:2.1",
                                   "creation": [1, 2], "payload": b"x"})], tokens=NESTED),
    Target("pass-list", "protocols.bus.pass_list.parse_pass_list", parse_pass_list, passes,
           longest=16_384,
           tokens=(b"1e400", b"NaN", b"9" * 400, b"[" * 60, b"null", b"-1", b"{}", b"true")),
    Target("arguments", "ground.command.arguments.parse_arguments", arguments, argument_seeds,
           refuses=(LocalError,),
           tokens=(b"+1e9d", b"9" * 400, b"=", b"nan", b"inf", b"0x", b"MODE_SET(", b"\n", b",",
                   b"2027-02-30T99:00:00Z")),
    Target("instant", "ground.command.arguments.parse_time",
           lambda octets: parse_time(octets.decode("utf-8", "replace"), now_ns=T0),
           lambda: [b"2026-11-28T12:00:00Z", b"+90s", b"+1.5h", b"2016-12-31T23:59:60Z"],
           refuses=(LocalError,), tokens=(b"9" * 400, b"T", b"Z", b"+", b"60")),
    Target("key-file", "protocols.bus.access.Holder.parse", key_file, key_files,
           refuses=(LocalError,),
           tokens=(b"9999-12-31T23:59:59Z", b"0001-01-01T00:00:00+14:00", b"[" * 60, b"1e400",
                   b"null", b"NaN", b'"secret"', b'"operator"', b'"bus"', b"\\ud800", b"{}")),
    Target("zap-request", "protocols.bus.zap.ZapRequest.parse", zap,
           lambda: [joined(ZapRequest(b"1", "bus.in", "10.0.0.1", CURVE, bytes(32)).build()),
                    joined([b"1.0", b"1", b"bus.out", b"::1", b"", b"NULL"]),
                    joined([b"1.0", b"1", b"link", b"", b"", b"PLAIN", b"ann", b"secret"])]),
    Target("samples", "ground.client.samples.read_samples", read_samples, samples,
           refuses=(GroundError,), short=60),
]  # fmt: skip
