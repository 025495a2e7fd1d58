"""`l4 relay` and the live view's relay lines, on bundles as the relay publishes them."""

from __future__ import annotations

import json

from ground.live_view import LiveModel, relay_lines
from ground.relay_command import described, line
from protocols.bus.envelope import Envelope
from protocols.bus.messages import BundlesMessage, DeliveredBundle
from protocols.dtn.bundle import Bundle, CreationTimestamp, Primary, payload_block
from protocols.dtn.dtn_time import dtn_ms_from_tai_ns
from protocols.dtn.eid import ipn
from protocols.identifiers import Topic

S = 10**9
NOW_NS = 2_177_452_837 * S


def delivered(payload: bytes, created_s: int = -1000) -> DeliveredBundle:
    created_ns = NOW_NS + created_s * S
    creation = CreationTimestamp(dtn_ms_from_tai_ns(created_ns), 7)
    primary = Primary(0, 2, ipn(100, 2), ipn(40, 2), ipn(40, 0), creation, 86_400_000)
    octets = Bundle(primary, (payload_block(payload),)).build()
    return DeliveredBundle("ipn:40.2", "ipn:100.2", created_ns, NOW_NS, octets)


def test_a_bundle_is_told_with_its_way_and_what_of_it_is_text() -> None:
    one = delivered(b'{"state": "alert"}')
    what = described(one)
    assert what["under_way_s"] == 1000
    assert what["sequence"] == 7
    assert what["text"] == '{"state": "alert"}'
    assert json.loads(json.dumps(what)) == what
    assert line(one).startswith("2027-01-01T00:00:00Z   ipn:40.2 → ipn:100.2    1000 s")
    # Of data the first line; of what is no text at all nothing, and no control character.
    assert described(delivered(b"observation 3\n\xff\x00"))["text"] == "observation 3"
    assert described(delivered(b"\x1b[31m\n\xff"))["text"] == ""


def test_the_live_view_counts_from_the_journals_beginning() -> None:
    model = LiveModel()
    assert relay_lines(model, NOW_NS) == []
    body = BundlesMessage(41, (delivered(b"a"), delivered(b"b"))).build()
    model.take(Envelope(Topic.BUNDLES, "relay", "j", 3, NOW_NS, body))
    first, second = (text.plain for text in relay_lines(model, NOW_NS + 5 * S))
    assert first == "43 bundles arrived, last 5.0 s ago"
    assert second == "ipn:40.2, 16 min 40 s under way"
