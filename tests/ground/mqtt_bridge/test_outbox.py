"""Positions follow acknowledgements, in whatever order these come."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ground.mqtt_bridge.outbox import OVERLAP, Outbox, Publication


@given(st.data(), st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_a_position_is_passed_when_all_before_it_is_acknowledged(
    data: st.DataObject, sizes: list[int]
) -> None:
    outbox = Outbox()
    entries = [
        outbox.add("events", "j", n, [Publication(f"{n}/{i}", b"", 1) for i in range(size)])
        for n, size in enumerate(sizes)
    ]
    open_ = {(n, i) for n, size in enumerate(sizes) for i in range(size)}
    for n, i in data.draw(st.permutations(sorted(open_))):
        outbox.acknowledge(entries[n], i)
        outbox.acknowledge(entries[n], i)
        open_.remove((n, i))
        done = min((at for at, _ in open_), default=len(sizes)) - 1
        assert outbox.positions.get("events", ("j", -1)) == ("j", done)
        # What a new connection must say, in order, is what is still open.
        said = [(entry.sequence, number) for entry, number in outbox.unsaid()]
        assert said == sorted(open_)
        assert len(outbox) == len(open_)
    assert outbox.positions["events"] == ("j", len(sizes) - 1) or sum(sizes) == 0
    assert outbox.acknowledged == sum(sizes)


def test_a_new_connection_repeats_what_was_acknowledged_of_late_and_all_states() -> None:
    outbox = Outbox()
    alarm = Publication("alarms/limit/V", b"1", 1, True)
    link = Publication("link", b"up", 0, True)
    for n in range(OVERLAP + 5):
        outbox.acknowledge(outbox.add("events", "j", n, [Publication(str(n), b"", 1)]), 0)
    entry = outbox.add("events", "j", OVERLAP + 5, [alarm])
    assert outbox.tell(link)
    assert not outbox.tell(Publication("link", b"up", 0, True))
    assert outbox.tell(Publication("telemetry/A", b"1"))
    assert outbox.tell(Publication("telemetry/A", b"1"))
    # A state of a journal counts from its acknowledgement on.
    assert outbox.to_repeat()[-1] == link
    outbox.acknowledge(entry, 0)
    repeated = outbox.to_repeat()
    assert repeated[0].topic == "6"
    assert repeated[-2:] == [link, alarm]
    assert len(repeated) == OVERLAP + 2
