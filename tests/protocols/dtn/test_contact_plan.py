"""Contact plans: validation, ION and HDTN both ways, what differs, what is merged."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dtn.contact_plan import Contact, ContactPlan, Range, diff
from protocols.dtn.contact_plan_formats import build_hdtn, build_ion, read_hdtn, read_ion
from protocols.errors import LocalError, RemoteError
from protocols.timecodes.tai import NS_PER_SECOND as S
from protocols.timecodes.tai import tai_ns_from_utc_iso
from tests.strategies import contact_plans

NOON = tai_ns_from_utc_iso("2027-03-01T12:00:00Z")

# A file as operators write it, with what does not concern the plan (ionrc(5)).
IONRC = """\
1 1 ''
s
# ipn:1.0 is Mars
m horizon +0
@ 2027/03/01-12:00:00
a contact -1 -1 1 1 0
a contact +0 0 1 9 0
a contact +1 +3601 1 2 125000
a contact 2027/03/01-13:30:00 2027/03/01-14:00:00 2 3 250 0.5
a range +0 +7200 1 2 1200
a range +0 +7200 2 3 4
@ +7200
a contact +0 +10 1 2 7
"""


def at(seconds: int) -> int:
    return NOON + seconds * S


def test_ion_commands_of_an_operators_file() -> None:
    plan = read_ion(IONRC)
    assert plan.contacts == (
        Contact(at(1), at(3601), 1, 2, 1_000_000),
        Contact(at(5400), at(7200), 2, 3, 2_000, 0.5),
        Contact(at(7200), at(7210), 1, 2, 56),
    )
    assert plan.ranges == (
        Range(at(0), at(7200), 1, 2, 1200 * S),
        Range(at(0), at(7200), 2, 3, 4 * S),
    )
    assert plan.nodes == {1, 2, 3}


def test_ion_commands_change_a_running_plan() -> None:
    plan = read_ion(
        "c contact 2027/03/01-13:30:00 2 3 500\n"
        "d contact +7200 1 2\n"
        "d range * 1 2\n"
        "a contact +9000 +9001 3 2 1\n",
        base=read_ion(IONRC),
        reference_ns=NOON,
    )
    assert [c.rate_bit_s for c in plan.contacts] == [1_000_000, 4_000, 8]
    assert plan.contacts[1].confidence == 0.5
    assert [r.one for r in plan.ranges] == [2]
    assert read_ion("d contact * 1 2\nd contact * 2 3", base=read_ion(IONRC)).contacts == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a contact +0 +1 1 2 3", r"line 1: .*no reference time"),
        ("\na contact 2027/03/01-12:00:00 2027/03/01-24:00:00 1 2 3", "line 2: .*no such time"),
        ("a contact 2027-03-01-12:00:00 2027/03/01-24:00:00 1 2 3", "line 1: .*not a time like"),
        ("a contact 2027/02/29-12:00:00 2027/03/01-12:00:00 1 2 3", "line 1: .*day is out of"),
        ("@ 2027/03/01-12:00:00\na contact +5 +5 1 2 3", "1→2 from .* end after the begin"),
        ("@ 2027/03/01-12:00:00\na contact +0 +5 1 1 3", "two different node numbers"),
        ("@ 2027/03/01-12:00:00\na contact +0 +5 0 1 3", "two different node numbers"),
        ("@ 2027/03/01-12:00:00\na contact +0 +5 1 2 0", "rate 0 bit/s"),
        ("@ 2027/03/01-12:00:00\na contact +0 +5 1 2 3 1.5", "confidence 1.5"),
        ("@ 2027/03/01-12:00:00\na range +0 +5 1 2 -1", "light time -1000000000 ns"),
        ("@ 2027/03/01-12:00:00\na contact +0 +5 1 2 3\na contact +4 +9 1 2 3", "overlaps contact"),
        ("@ 2027/03/01-12:00:00\na contact +0 +5 1 2 3\na contact +0 +6 1 2 3", "line 3.*differs"),
        ("@ 2027/03/01-12:00:00\nd contact +0 1 2", "line 2: .*no such contact"),
        ("@ 2027/03/01-12:00:00\nc contact +0 1 2 9", "line 2: .*no such contact"),
        ("a contact 1 2", "line 1: .*no command for contacts or ranges"),
        ("a plan x", "line 1: .*no command for contacts or ranges"),
        ("^ 7", "line 1: '\\^ 7' is no command"),
        ("@ 2027/03/01-12:00:00\na contact +0 +99999999999 1 2 3", "from 0 to"),
    ],
)
def test_bad_ion_commands_are_named(text: str, words: str) -> None:
    with pytest.raises(RemoteError, match=words):
        read_ion(text)


def test_a_leap_second_is_a_time() -> None:
    plan = read_ion("a contact 2016/12/31-23:59:60 2017/01/01-00:00:00 1 2 3")
    assert plan.contacts[0].end_ns - plan.contacts[0].start_ns == S
    with pytest.raises(RemoteError, match="no such time"):
        read_ion("a contact 2026/12/31-23:59:60 2027/01/01-00:00:00 1 2 3")


@given(contact_plans())
def test_ion_reads_what_it_writes(plan: ContactPlan) -> None:
    assert read_ion(build_ion(plan).decode()) == plan


@given(contact_plans(), st.data())
def test_lines_together_and_one_by_one_give_the_same(
    plan: ContactPlan, data: st.DataObject
) -> None:
    lines = data.draw(st.permutations(build_ion(plan).decode().splitlines()))
    whole = read_ion("\n".join(lines))
    one_by_one = ContactPlan()
    # An overlap is found at the end, so any order does.
    for line in lines:
        one_by_one = read_ion(line, base=one_by_one)
    assert whole == one_by_one == plan


@given(contact_plans())
def test_hdtn_says_the_same_contacts_and_light_times(plan: ContactPlan) -> None:
    owlts = plan.owlts_ns()
    if None in owlts:
        with pytest.raises(LocalError, match="no range"):
            build_hdtn(plan)
        return
    read = read_hdtn(build_hdtn(plan))
    assert read.contacts == tuple(c._replace(confidence=1.0) for c in plan.contacts)
    assert read.owlts_ns() == owlts
    # Seconds after a begin of one's own, which HDTN takes by default.
    begin = min((c.start_ns for c in plan.contacts), default=0)
    document = build_hdtn(plan, reference_ns=begin)
    assert read_hdtn(document, reference_ns=begin) == read


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "no object with contacts"),
        ("[]", "no object with contacts"),
        ('{"contacts": [1]}', "contact 0: startTime None"),
        ('{"contacts": [{"startTime": -1}]}', "contact 0: startTime -1"),
    ],
)
def test_bad_hdtn_documents_are_named(text: str, words: str) -> None:
    with pytest.raises(RemoteError, match=words):
        read_hdtn(text)


def test_hdtns_rate_without_limit_must_be_said() -> None:
    # nasa/HDTN common/streaming/tests/test_scripts_linux/one_node_ltp/config_files.
    document = json.dumps(
        {
            "contacts": [
                {"contact": 0, "source": 10, "dest": 2, "startTime": 0, "endTime": 1000}
                | {"rateBitsPerSec": 0, "owlt": 1}
            ]
        }
    )
    with pytest.raises(RemoteError, match="contact 0: rateBitsPerSec 0 is no limit"):
        read_hdtn(document)
    plan = read_hdtn(document, reference_ns=NOON, unlimited_bit_s=10**9)
    assert plan.contacts == (Contact(NOON, at(1000), 10, 2, 10**9),)
    assert plan.ranges == (Range(NOON, at(1000), 10, 2, S),)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_octets_raise_remote_errors_only(octets: bytes) -> None:
    for read in (lambda: read_hdtn(octets), lambda: read_ion(octets.decode("latin-1"))):
        with contextlib.suppress(RemoteError):
            read()


def test_light_times_by_ions_rules() -> None:
    """ionrc(5): a range from the smaller number holds both ways, unless the other has its own."""
    forth, back = Contact(at(0), at(9), 1, 2, 8), Contact(at(0), at(9), 2, 1, 8)
    there = Range(at(0), at(5), 1, 2, 3 * S)
    assert ContactPlan((forth, back), (there,)).owlts_ns() == [3 * S, 3 * S]
    own = Range(at(0), at(5), 2, 1, 7 * S)
    assert ContactPlan((forth, back), (there, own)).owlts_ns() == [3 * S, 7 * S]
    assert ContactPlan((forth, back), (own,)).owlts_ns() == [None, 7 * S]
    late = Range(at(4), at(5), 1, 2, 3 * S)
    assert ContactPlan((forth,), (late,)).owlts_ns() == [3 * S]
    assert ContactPlan((forth,), (Range(at(9), at(10), 1, 2, 0),)).owlts_ns() == [None]


@given(contact_plans(), contact_plans())
def test_the_difference_leads_from_one_plan_to_the_other(a: ContactPlan, b: ContactPlan) -> None:
    change = diff(a, b)
    assert bool(change) == (a != b)
    contacts = set(a.contacts) - set(change.removed) - {old for old, _ in change.changed}
    contacts |= set(change.added) | {new for _, new in change.changed}
    ranges = (set(a.ranges) - set(change.ranges_removed)) | set(change.ranges_added)
    assert ContactPlan(tuple(contacts), tuple(ranges)) == b
    assert all(old.key == new.key for old, new in change.changed)


@given(contact_plans(), contact_plans())
def test_an_update_wins_where_it_overlaps(plan: ContactPlan, update: ContactPlan) -> None:
    merged = plan.merged(update)
    assert set(update.contacts) <= set(merged.contacts)
    for c in set(plan.contacts) - set(update.contacts):
        overlaps = any(
            (u.source, u.dest) == (c.source, c.dest)
            and u.start_ns < c.end_ns
            and c.start_ns < u.end_ns
            for u in update.contacts
        )
        assert (c in merged.contacts) != overlaps


def test_the_past_is_forgotten() -> None:
    plan = read_ion(IONRC)
    assert [c.start_ns for c in plan.without_past(at(3601)).contacts] == [at(5400), at(7200)]
    assert plan.without_past(at(7200)).ranges == ()


@given(st.data())
def test_light_times_of_any_ranges_are_those_of_the_rules_written_out(data: st.DataObject) -> None:
    def intervals() -> list[tuple[int, int, int, int]]:
        drawn: list[tuple[int, int, int, int]] = []
        for one, other in ((1, 2), (2, 1), (1, 3), (3, 2)):
            at_s = 0
            for gap, length in data.draw(
                st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), max_size=4)
            ):
                drawn.append((at_s + gap, at_s + gap + length, one, other))
                at_s += gap + length
        return drawn

    contacts = tuple(Contact(at(a), at(b), one, other, 8) for a, b, one, other in intervals())
    ranges = tuple(
        Range(at(a), at(b), one, other, i * S) for i, (a, b, one, other) in enumerate(intervals())
    )
    plan = ContactPlan(contacts, ranges)

    def owlt_ns(c: Contact, one: int, other: int) -> int | None:
        of_pair = [r for r in plan.ranges if (r.one, r.other) == (one, other)]
        during = [r for r in of_pair if r.start_ns < c.end_ns and c.start_ns < r.end_ns]
        return during[0].owlt_ns if during else None

    expected: list[int | None] = []
    for c in plan.contacts:
        own = owlt_ns(c, c.source, c.dest)
        implied = owlt_ns(c, c.dest, c.source) if c.source > c.dest else None
        expected.append(implied if own is None else own)
    assert plan.owlts_ns() == expected
