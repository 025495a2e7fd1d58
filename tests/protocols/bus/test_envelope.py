"""The envelope: round trip, bounds, and noise."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.bus.envelope import (
    MAX_BODY_OCTETS,
    MAX_NAME_OCTETS,
    MAX_TOPIC_OCTETS,
    Envelope,
    build_envelope,
    parse_envelope,
)
from protocols.bus.fields import pack_map
from protocols.errors import LocalError, RemoteError

NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=64)
ENVELOPES = st.builds(
    lambda topic, source, journal, sequence, time_ns, body: Envelope(
        topic, source, journal, sequence if journal else -1, time_ns, body
    ),
    NAMES,
    NAMES,
    st.just("") | NAMES,
    st.integers(0, 2**63 - 1),
    st.integers(-(2**63), 2**63 - 1),
    st.binary(max_size=50),
)


@given(ENVELOPES)
@settings(max_examples=100)
def test_round_trip(envelope: Envelope) -> None:
    assert parse_envelope(build_envelope(envelope)) == envelope


@given(st.lists(st.binary(max_size=60), max_size=5))
@settings(max_examples=200)
def test_noise_raises_remote_error_only(parts: list[bytes]) -> None:
    with pytest.raises(RemoteError):
        parse_envelope(parts)


@given(ENVELOPES, st.data())
@settings(max_examples=200)
def test_damage_raises_remote_error_only(envelope: Envelope, data: st.DataObject) -> None:
    parts = [bytearray(part) for part in build_envelope(envelope)]
    part = parts[data.draw(st.integers(0, 1))]
    part[data.draw(st.integers(0, len(part) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(RemoteError):
        parse_envelope([bytes(part) for part in parts])


@pytest.mark.parametrize(
    "changes",
    [
        {"topic": ""},
        {"topic": "t" * (MAX_TOPIC_OCTETS + 1)},
        {"topic": "two words"},
        {"topic": "π"},
        {"source": ""},
        {"source": "s" * (MAX_NAME_OCTETS + 1)},
        {"journal": "j" * (MAX_NAME_OCTETS + 1)},
        {"sequence": -2},
        {"time_ns": 2**64},
        {"body": bytes(MAX_BODY_OCTETS + 1)},
    ],
)
def test_what_may_not_be_sent_is_a_local_error(changes: dict[str, object]) -> None:
    good: dict[str, object] = {
        "topic": "t", "source": "s", "journal": "j", "sequence": 0, "time_ns": 0, "body": b"",
    }  # fmt: skip
    with pytest.raises(LocalError):
        build_envelope(Envelope(**(good | changes)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "header",
    [
        {"v": 2, "src": "s", "jid": "", "seq": -1, "t": 0},
        {"v": 1, "src": "s", "jid": "j", "seq": -1, "t": 0},
        {"v": 1, "src": "s", "jid": "", "seq": 0, "t": 0},
        {"v": 1, "src": "", "jid": "", "seq": -1, "t": 0},
        {"v": 1, "src": "s", "jid": "", "seq": True, "t": 0},
        {"v": 1, "src": "s", "jid": "", "seq": -1},
    ],
)
def test_headers_that_mean_nothing_are_refused(header: dict[str, object]) -> None:
    with pytest.raises(RemoteError):
        parse_envelope([b"t", pack_map(header), b""])


def test_bodies_and_headers_beyond_their_bounds_are_refused_before_they_are_read() -> None:
    topic, header, _body = build_envelope(Envelope("t", "s", "", -1, 0, b""))
    with pytest.raises(RemoteError, match="body"):
        parse_envelope([topic, header, bytes(MAX_BODY_OCTETS + 1)])
    with pytest.raises(RemoteError, match="too long"):
        parse_envelope([topic, header + bytes(1000), b""])
