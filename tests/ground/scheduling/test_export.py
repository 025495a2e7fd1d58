"""What is exported is read back: by independent readers where there are any, else by ours."""

from __future__ import annotations

import datetime
import json
import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import icalendar
import pyarrow.parquet as pq
import pytest
import xmlschema
from hypothesis import given
from hypothesis import strategies as st

from ground.scheduling import export
from ground.scheduling.export import contact_plan, gantt, ics, passes, simple_schedule, tables
from ground.scheduling.export.contact_plan import Network
from ground.scheduling.export.publication import Publication, light_time_table
from ground.scheduling.model import (
    S_NS,
    Antenna,
    Choice,
    Commitment,
    Interval,
    Mission,
    Problem,
    Request,
    Schedule,
    Track,
    ViewPeriod,
    track_of,
)
from protocols.bus.pass_list import parse_pass_list
from protocols.dtn.contact_plan import Contact
from protocols.dtn.contact_plan_formats import build_hdtn, build_ion, read_hdtn, read_ion
from protocols.errors import LocalError, RemoteError
from protocols.timecodes.tai import tai_ns_from_utc_iso, utc_iso_from_tai_ns

XSD = Path(__file__).with_name("simple_schedule.xsd")
BEGIN_NS = tai_ns_from_utc_iso("2027-03-01T00:00:00Z")
HOUR_NS = 3600 * S_NS
OWLT_NS = 499_004_784_000


def at(hours: float) -> int:
    return BEGIN_NS + round(hours * HOUR_NS)


def request(name: str, mission: str, *choices: tuple[str, ...], **more: int) -> Request:
    view = (ViewPeriod(at(0), at(72)),)
    values = {"duration_s": 8 * 3600, "minimum_s": 3600, "setup_s": 3600, "teardown_s": 900, **more}
    return Request(name, mission, choices=tuple(Choice(c, view) for c in choices), **values)


def problem(published: Schedule | None = None) -> Problem:
    return Problem(
        name="week; one, Yeoju",
        horizon=Interval(at(0), at(72)),
        antennas=(
            Antenna("DSS-25", "Goldstone", "NASA"),
            Antenna("DSS-26", "Goldstone", "NASA"),
            Antenna("DSS-54", "Madrid", "NASA"),
            Antenna("KDSA", "Yeoju", "KASA", mspa=2),
        ),
        missions=(Mission("L4", "KASA"), Mission("한울 <2>", "NASA", links=2)),
        requests=(
            request("relay", "L4", ("KDSA",), segments=2, segment_minimum_s=3600),
            request("array", "한울 <2>", ("DSS-25", "DSS-26")),
            request("ddor", "한울 <2>", ("DSS-25", "DSS-54")),
            request("gone", "L4", ("DSS-54",)),
        ),
        commitments=(Commitment("DSS-54", Interval(at(40), at(44)), label="antenna, painted"),),
        published=published,
    )


def schedule(of: Problem, *, move_h: float = 0.0) -> Schedule:
    def track(name: str, antennas: tuple[str, ...], on_h: float, off_h: float) -> Track:
        return track_of(of.request_by_id[name], antennas, at(on_h), at(off_h))

    return Schedule(
        (
            track("relay", ("KDSA",), 2 + move_h, 5.25 + move_h),
            track("relay", ("KDSA",), 30, 33),
            track("array", ("DSS-25", "DSS-26"), 10, 17.5),
            track("ddor", ("DSS-25", "DSS-54"), 20, 21),
        )
    )


def publication(**more: object) -> Publication:
    values = {"light_time": light_time_table({"L4": OWLT_NS / 1e9, "": 1200.0}), **more}
    of = problem()
    return Publication(of, schedule(of), BEGIN_NS, version=3, **values)  # type: ignore[arg-type]


PUBLICATION = publication()

# ---------------------------------------------------------------- simple schedule


def test_simple_schedule_has_the_documented_structure_and_comes_back() -> None:
    octets = simple_schedule.build(PUBLICATION)
    xmlschema.XMLSchema(str(XSD)).validate(octets.decode())
    assert simple_schedule.read(PUBLICATION.problem, octets) == PUBLICATION.schedule
    name = "{urn:ccsds:schema:cssm:1.0.0}"
    root = ElementTree.fromstring(octets)
    header = root.find(f"{name}simpleScheduleHeader")
    assert header is not None
    assert header.get("startTime") == "2027-060T00:00:00.000Z"
    packages = {p.get("scheduledPackageId"): p for p in root.iter(f"{name}scheduledPackage")}
    services = {
        key: {s.get("serviceType") for s in package.iter(f"{name}serviceInfo")}
        for key, package in packages.items()
    }
    assert services["ddor"] == {"DELTADOR"}
    assert services["array"] == {"TELEMETRY", "TELECOMMAND", "RANGING"}


def test_the_structure_is_checked_not_waved_through() -> None:
    octets = simple_schedule.build(PUBLICATION)
    for good, bad in (
        (b'"COMMITTED"', b'"PERHAPS"'),
        (b" endOfTrack=", b" ende="),
        (b"060T", b"6T"),
    ):
        with pytest.raises(xmlschema.XMLSchemaValidationError):
            xmlschema.XMLSchema(str(XSD)).validate(octets.replace(good, bad).decode())


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b"<simpleSchedule/>", "of urn:ccsds:schema:cssm"),
        (b"<a", "no element|unclosed|mal"),
        (simple_schedule.build(PUBLICATION).replace(b'Id="relay"', b'Id="x"'), "request x"),
        (simple_schedule.build(PUBLICATION).replace(b"apertureRef", b"a"), "without apertureRef"),
        (simple_schedule.build(PUBLICATION).replace(b"060T02:00", b"400T02:00"), "400T02:00"),
    ],
)
def test_a_wrong_simple_schedule_is_refused(document: bytes, words: str) -> None:
    with pytest.raises(RemoteError, match=words):
        simple_schedule.read(PUBLICATION.problem, document)


@given(st.integers(-(10**18), 5 * 10**18))
def test_day_of_year_names_the_same_instant(tai_ns: int) -> None:
    iso = utc_iso_from_tai_ns(tai_ns)
    parts = datetime.datetime.strptime(iso[:10], "%Y-%m-%d")
    assert simple_schedule.day_of_year(tai_ns) == parts.strftime("%Y-%j") + iso[10:]


# ---------------------------------------------------------------- calendar


def events(of: Publication) -> dict[str, icalendar.Event]:
    calendar = icalendar.Calendar.from_ical(ics.build(of))
    assert not calendar.errors
    return {str(event["UID"]): event for event in calendar.walk("VEVENT")}


def test_icalendar_reads_every_track_in_utc() -> None:
    found = events(PUBLICATION)
    assert len(found) == 5
    first = found["week; one, Yeoju.relay.1@l4-relay-ground"]
    assert first.start == datetime.datetime(2027, 3, 1, 2, tzinfo=datetime.UTC)
    assert first.end == datetime.datetime(2027, 3, 1, 5, 15, tzinfo=datetime.UTC)
    assert first["LOCATION"] == "Yeoju: KDSA"
    assert first["SEQUENCE"] == 3
    assert "set-up from 2027-03-01T01:00:00Z" in first["DESCRIPTION"]
    assert [str(e["SUMMARY"]) for e in found.values()][-1] == "antenna, painted · DSS-54"
    assert any(str(e["SUMMARY"]) == "한울 <2> · DSS-25, DSS-26" for e in found.values())


def test_lines_of_a_calendar_are_folded_between_characters() -> None:
    lines = ics.build(PUBLICATION).split(b"\r\n")
    assert max(map(len, lines)) == 75
    for line in lines:
        line.decode()


def test_a_moved_track_keeps_its_uid_and_a_withdrawn_one_is_cancelled() -> None:
    before = problem()
    gone = track_of(before.request_by_id["gone"], ("DSS-54",), at(50), at(52))
    published = Schedule((*schedule(before).tracks, gone))
    after = problem(published)
    found = events(Publication(after, schedule(after, move_h=1), BEGIN_NS, version=4))
    old = events(PUBLICATION)
    uid = "week; one, Yeoju.relay.1@l4-relay-ground"
    assert found[uid].start - old[uid].start == datetime.timedelta(hours=1)
    assert found[uid]["SEQUENCE"] > old[uid]["SEQUENCE"]
    cancelled = [str(e["UID"]) for e in found.values() if e["STATUS"] == "CANCELLED"]
    assert cancelled == ["week; one, Yeoju.gone.1@l4-relay-ground"]


# ---------------------------------------------------------------- tables


def test_tables_come_back_and_other_readers_see_utc(tmp_path: Path) -> None:
    for name, read in (("a.csv", tables.read_csv), ("a.parquet", tables.read_parquet)):
        export.write(PUBLICATION, export.format_of(None, Path(name)), tmp_path / name)
        assert read(tmp_path / name) == PUBLICATION.schedule
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.num_rows == 6
    when = table.column("on_utc")[0].as_py()
    assert when.isoformat() == "2027-03-01T02:00:00+00:00"
    (tmp_path / "b.csv").write_text("request,antenna\nr,a\n")
    with pytest.raises(RemoteError, match="row 1"):
        tables.read_csv(tmp_path / "b.csv")
    (tmp_path / "b.parquet").write_bytes(b"PAR1")
    with pytest.raises(RemoteError):
        tables.read_parquet(tmp_path / "b.parquet")


# ---------------------------------------------------------------- contact plans


def test_ion_contacts_begin_a_light_time_before_the_pass_at_the_spacecraft() -> None:
    network = Network({"L4": 7, "Yeoju": 11})
    plan = contact_plan.contact_plan(PUBLICATION, network)
    text = build_ion(plan).decode()
    # Downlink from 7: AOS 02:00:00 − 499.004784 s, rounded up; LOS 05:15:00 − 499.004784 s, down.
    assert "a contact 2027/03/01-01:51:41 2027/03/01-05:06:40 7 11 2000\n" in text
    assert "a contact 2027/03/01-02:00:00 2027/03/01-05:15:00 11 7 250\n" in text
    assert "a range 2027/03/01-01:51:40 2027/03/01-05:23:20 7 11 499\n" in text
    command = re.compile(r"(#.*|a (contact|range) (\d{4}(/\d\d){2}-\d\d:\d\d:\d\d ){2}\d+ \d+ \d+)")
    assert all(command.fullmatch(line) for line in text.splitlines())
    assert read_ion(text) == plan


def test_a_contact_up_is_planned_only_where_the_pass_may_transmit() -> None:
    network = Network({"L4": 7, "한울 <2>": 8, "Yeoju": 11})
    limited = publication(uplink={("L4", "KDSA"): (Interval(at(3), at(5)),)})
    text = build_ion(contact_plan.contact_plan(limited, network)).decode()
    assert "a contact 2027/03/01-01:51:41 2027/03/01-05:06:40 7 11 2000\n" in text
    assert re.findall(r"a contact (\S+) (\S+) 11 7", text) == [
        ("2027/03/01-03:00:00", "2027/03/01-05:00:00")
    ]
    # An array and a baseline receive only.
    assert re.search(r"a contact \S+ \S+ 8 ", text)
    assert not re.search(r"a contact \S+ \S+ \d+ 8 ", text)


def test_hdtn_says_the_same_in_unix_seconds() -> None:
    plan = contact_plan.contact_plan(PUBLICATION, Network())
    document = json.loads(build_hdtn(plan))
    assert read_hdtn(json.dumps(document)).contacts == plan.contacts
    first = document["contacts"][0]
    begin = datetime.datetime(2027, 3, 1, 2, tzinfo=datetime.UTC).timestamp()
    assert first["startTime"] == begin - 499
    assert (first["rateBitsPerSec"], first["owlt"]) == (16_000, 499)


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)), min_size=1, max_size=12),
    st.floats(-3e-3, 3e-3),
    st.floats(0, 3000),
)
def test_contacts_of_a_pair_never_overlap_and_lie_inside_their_passes(
    spans: list[tuple[int, int]], rate: float, owlt_s: float
) -> None:
    of = problem()
    view = (ViewPeriod(at(0), at(72)),)
    many = tuple(
        Request(str(i), "L4", length * 3600, 1, (Choice(("KDSA",), view),))
        for i, (_, length) in enumerate(spans)
    )
    of = replace(of, requests=many, gaps=())
    tracks = tuple(
        track_of(r, ("KDSA",), at(on), at(on + length))
        for r, (on, length) in zip(many, spans, strict=True)
    )

    def light_time(mission: str, antenna: str, ground_ns: int) -> int:
        return round((owlt_s + 1000 + rate * (ground_ns - BEGIN_NS) / S_NS) * S_NS)

    plan = contact_plan.contact_plan(
        Publication(of, Schedule(tracks), BEGIN_NS, light_time=light_time), Network()
    )
    for kind in (plan.contacts, plan.ranges):
        by_pair: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for c in kind:
            pair = (c.source, c.dest) if isinstance(c, Contact) else (c.one, c.other)
            by_pair.setdefault(pair, []).append((c.start_ns, c.end_ns))
        for found in by_pair.values():
            assert all(a[1] <= b[0] for a, b in pairwise(found))
    ground = {name: number for number, name in plan.names.items()}["Yeoju"]
    uplink = [(c.start_ns, c.end_ns) for c in plan.contacts if c.source == ground]
    hours = {h for on, length in spans for h in range(on, on + length)}
    assert sum(b - a for a, b in uplink) == HOUR_NS * len(hours)


def test_a_contact_plan_without_light_time_names_the_mission() -> None:
    with pytest.raises(LocalError, match=r"light time of mission .*--light-time .*=SECONDS"):
        contact_plan.contact_plan(publication(light_time=light_time_table({})), Network())
    with pytest.raises(LocalError, match="one number above 0"):
        Network({"a": 3, "b": 3})


# ---------------------------------------------------------------- passes


def test_uplink_windows_are_shifted_by_the_light_time() -> None:
    octets = passes.build(PUBLICATION)
    assert parse_pass_list(octets) == passes.passes(PUBLICATION)
    relay = json.loads(octets)["passes"][0]
    assert (relay["station"], relay["antenna"], relay["mission"]) == ("Yeoju", "KDSA", "L4")
    assert relay["aos_utc"] == "2027-03-01T02:00:00.000Z"
    assert relay["uplink_at_ground"]["from_utc"] == "2027-03-01T02:00:00.000Z"
    assert relay["uplink_at_spacecraft"]["from_utc"] == "2027-03-01T02:08:19.004Z"
    assert relay["uplink_at_spacecraft"]["to_utc"] == "2027-03-01T05:23:19.004Z"
    # An answer is heard if it comes before LOS: 2 × 499.004784 s earlier.
    assert relay["last_uplink_answered"]["at_utc"] == "2027-03-01T04:58:21.990Z"


def test_an_array_only_listens_and_light_time_may_be_unknown() -> None:
    array = next(p for p in passes.passes(PUBLICATION).passes if "_" in p.antenna)
    assert array.uplink_from_ns == array.uplink_to_ns
    assert array.last_answered_ns is None
    unknown = publication(light_time=light_time_table({}))
    relay = json.loads(passes.build(unknown))["passes"][0]
    assert relay["one_way_light_time_ns"] is None
    assert relay["uplink_at_spacecraft"] is None
    assert parse_pass_list(passes.build(unknown)) == passes.passes(unknown)


# ---------------------------------------------------------------- pictures


def test_the_chart_shows_every_track_and_is_well_formed() -> None:
    for view in ("antenna", "mission"):
        drawing = ElementTree.fromstring(export.build(PUBLICATION, "svg", view=view))
        titles = [t.text or "" for t in drawing.iter("{http://www.w3.org/2000/svg}title")]
        tracks = sum(
            len(t.antennas) if view == "antenna" else 1 for t in PUBLICATION.schedule.tracks
        )
        assert sum("AOS" in title for title in titles) == tracks
        assert any("2027-03-01 02:00" in title for title in titles)
    assert any("antenna, painted of DSS-54" in title for title in gantt_titles())


def gantt_titles() -> list[str]:
    chart = gantt.chart(PUBLICATION, "antenna")
    return [bar.details[0] for row in chart.rows for bar in row.bars]


def test_bars_that_overlap_stand_in_lanes_of_their_own() -> None:
    chart = gantt.chart(PUBLICATION, "mission")
    row = next(row for row in chart.rows if row.name == "한울 <2>")
    assert row.lanes == 1
    of = problem()
    both = (
        track_of(of.request_by_id["array"], ("DSS-25", "DSS-26"), at(20), at(22)),
        track_of(of.request_by_id["ddor"], ("DSS-25", "DSS-54"), at(21), at(23)),
    )
    chart = gantt.chart(Publication(of, Schedule(both), BEGIN_NS), "mission")
    row = next(row for row in chart.rows if row.name == "한울 <2>")
    assert row.lanes == 2
    assert {bar.lane for bar in row.bars} == {0, 1}


def test_the_page_needs_nothing_from_outside() -> None:
    page = export.build(PUBLICATION, "html").decode()
    assert page.count("<svg ") == 2
    outside = set(re.findall(r"(?:https?:)?//[\w.]+", page)) - {"http://www.w3.org"}
    assert outside == set()
    assert "<2>" not in page
    # Neither view borrows from the other, which may be hidden.
    for drawing in page.split("<svg ")[1:]:
        (own,) = re.findall(r'<pattern id="([\w-]+)"', drawing)
        assert set(re.findall(r"url\(#([\w-]+)\)", drawing)) == {own}


def test_the_png_has_the_size_that_its_rows_need() -> None:
    octets = export.build(PUBLICATION, "png")
    assert octets[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = (int.from_bytes(octets[i : i + 4], "big") for i in (16, 20))
    assert width == 2200
    assert height > 4 * gantt.ROW


# ---------------------------------------------------------------- as a whole


def test_every_format_can_be_built_and_unknown_ones_are_named(tmp_path: Path) -> None:
    for name in export.FORMATS:
        assert export.build(PUBLICATION, name)
    for suffix, name in export.SUFFIXES.items():
        assert export.format_of(None, Path(f"x{suffix.upper()}")) == name
    with pytest.raises(LocalError, match="--format wanted"):
        export.format_of(None, Path("x.json"))
    with pytest.raises(LocalError, match="'pdf': one of simple-schedule"):
        export.format_of("pdf", None)


def test_importing_the_exports_loads_none_of_their_libraries() -> None:
    program = (
        "import sys, ground.scheduling.export\n"
        "print([m for m in ('matplotlib', 'pyarrow', 'skyfield', 'ortools') if m in sys.modules])"
    )
    got = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert got.stdout == "[]\n"
