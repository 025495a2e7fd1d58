"""The live view draws situations given as bus messages: nothing in it may mislead."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from ground.live_view import LiveModel, render
from ground.ports import Message
from ground.run import _line as run_line
from ground.supervisor import Supervisor
from protocols.bus.columns import ParameterColumn
from protocols.bus.messages import (
    LinkMessage,
    ParametersMessage,
    ParameterTable,
    Pass,
    PassesMessage,
    StatusMessage,
)
from protocols.identifiers import Topic
from protocols.telemetry.calibration import Polynomial
from protocols.telemetry.limits import LimitState
from protocols.timecodes.tai import utc_iso_from_tai_ns

S = 10**9
NOW = 2_174_000_000 * S


def parameters(*, scet_s: list[int], state: LimitState, playback: bool = False) -> Message:
    scet = NOW - 499 * S + np.array(scet_s, np.int64) * S
    n = len(scet)
    column = ParameterColumn(
        name="PWR_BUS_VOLTAGE",
        raw=np.arange(n),
        calibration=Polynomial((30.0, 1 / max(1, n - 1))),
        limit_state=np.full(n, state, np.uint8),
        unit="V",
    )
    table = ParameterTable(
        definition="POWER",
        packet=np.arange(n),
        scet_ns=scet,
        ert_ns=scet + 499 * S,
        playback=np.full(n, playback),
        columns=(column,),
    )
    body = ParametersMessage(
        link="x", journal="j", sequence=0, reception_ns=NOW, first_row=0, tables=(table,)
    )
    return Message(Topic.PARAMETERS, "monitor", "j", 0, NOW, body.build())


def link(time_ns: int, state: str = "OK") -> Message:
    body = LinkMessage(
        link="downlink", time_ns=time_ns, state=state, detail="", carrier=True, owlt_s=499.0
    )
    return Message(Topic.LINK, "receive", "", -1, time_ns, body.build())


def status(service: str, time_ns: int, counters: dict[str, int] | None = None) -> Message:
    body = StatusMessage(
        service=service,
        state="running",
        time_ns=time_ns,
        started_ns=0,
        pid=1,
        rss_octets=2**20,
        counters=counters or {},
    )
    return Message(f"{Topic.STATUS}.{service}", service, "", -1, time_ns, body.build())


def drawn(model: LiveModel, now_ns: int = NOW, width: int = 160, height: int = 45) -> str:
    console = Console(width=width, height=height, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(render(model, now_ns=now_ns, height=height, width=width, restarts={"bus": 0}))
    console.file.close()
    return console.export_text()


def test_four_clocks_are_one_and_two_light_times_apart() -> None:
    model = LiveModel()
    model.take(link(NOW))
    text = drawn(model)
    assert "one-way light time 8 min 19 s" in text
    times = next(line for line in text.splitlines() if line.count("Z") >= 4).split("  ")
    shown = [time.strip(" │") for time in times if time.strip(" │")]
    seconds = [
        np.datetime64(time.rstrip("Z").replace(" ", "T")).astype("datetime64[s]") for time in shown
    ]
    ground, seen, arrives, reply = (int(s.astype(np.int64)) for s in seconds)
    assert (seen - ground, arrives - ground, reply - ground) == (-499, 499, 998)


def test_a_value_that_has_stopped_coming_says_so() -> None:
    model = LiveModel()
    model.take(parameters(scet_s=[-3, -2, -1, 0], state=LimitState.NOMINAL))
    assert "STALE" not in drawn(model)
    assert "STALE, last received 1 min 0 s ago" in drawn(model, NOW + 60 * S)


def test_stored_data_is_counted_and_never_shown_as_live() -> None:
    model = LiveModel()
    model.take(parameters(scet_s=[-9, -8], state=LimitState.CRITICAL_HIGH, playback=True))
    text = drawn(model)
    assert "OUT OF LIMITS" not in text
    assert model.playback_rows == 2
    assert model.blocks == {}


def test_limits_are_said_in_words_with_the_time_since_when() -> None:
    model = LiveModel()
    model.take(parameters(scet_s=[-5, -4], state=LimitState.NOMINAL))
    model.take(parameters(scet_s=[-3, -2], state=LimitState.CRITICAL_HIGH))
    model.take(parameters(scet_s=[-1, 0], state=LimitState.CRITICAL_HIGH))
    shown = model.blocks["POWER"].parameters["PWR_BUS_VOLTAGE"]
    assert shown.since_ns == NOW - 502 * S
    assert "critical high since SCET" in drawn(model)


def test_late_data_does_not_replace_newer() -> None:
    model = LiveModel()
    model.take(parameters(scet_s=[0], state=LimitState.NOMINAL))
    model.take(parameters(scet_s=[-100], state=LimitState.CRITICAL_LOW))
    assert model.blocks["POWER"].parameters["PWR_BUS_VOLTAGE"].limit == LimitState.NOMINAL


@pytest.mark.parametrize("speed", [1.0, 60.0])
def test_silence_is_not_shown_as_the_last_state(speed: float) -> None:
    model = LiveModel(speed=speed)
    model.take(link(NOW))
    model.take(status("receive", NOW))
    assert "locked" in drawn(model, NOW + round(2 * speed * S))
    text = drawn(model, NOW + round(10 * speed * S))
    assert "locked" not in text
    assert "UNKNOWN" in text
    assert "silent" in text


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (160, 45), (240, 70)])
def test_clocks_and_values_stand_on_any_screen(width: int, height: int) -> None:
    model = LiveModel()
    model.take(link(NOW))
    model.take(parameters(scet_s=[-1, 0], state=LimitState.NOMINAL))
    text = drawn(model, width=width, height=height)
    assert "31 V" in text
    assert [line for line in text.splitlines() if line.count("Z") >= 4]
    assert all(len(line) <= width for line in text.splitlines())


def passes(*aos_los_s: tuple[int, int]) -> Message:
    found = tuple(
        Pass(
            aos_ns=NOW + aos * S,
            los_ns=NOW + los * S,
            id=f"p{i}",
            mission="L4 relay",
            station=("Yeoju", "Goldstone")[i % 2],
            antenna=("YEOJU", "DSS-26")[i % 2],
            setup_ns=NOW + aos * S,
            release_ns=NOW + los * S,
            uplink_from_ns=NOW + aos * S,
            uplink_to_ns=NOW + los * S,
        )
        for i, (aos, los) in enumerate(aos_los_s)
    )
    body = PassesMessage("l4", 1, NOW, NOW, NOW, found)
    return Message(Topic.PASSES, "scheduling", "", -1, NOW, body.build())


def clock(t_s: int) -> str:
    return utc_iso_from_tai_ns(NOW + t_s * S, decimals=0)[11:19]


def test_the_pass_that_is_on_and_the_next_one_are_counted_down() -> None:
    model = LiveModel()
    model.take(parameters(scet_s=[0], state=LimitState.NOMINAL))
    model.take(link(NOW))
    model.take(passes((-600, 3600), (3600, 9000)))
    screen = drawn(model)
    assert "NO PASS" not in screen
    assert f"LOS {clock(3600)[:5]}, in 1 h 0 min" in screen
    assert "next DSS-26 Goldstone" in screen
    assert f"AOS {clock(3600)[:5]}, in 1 h 0 min" in screen


def test_a_capture_that_waits_to_be_decoded_is_shown() -> None:
    model = LiveModel()
    model.take(status("receive", NOW, {"behind_octets": 50 * 2**20}))
    assert "50 MiB" in drawn(model)
    model.take(status("receive", NOW, {"behind_octets": 1000}))
    assert "50 MiB" not in drawn(model)


def test_sampled_parameters_are_never_shown_as_if_they_were_all() -> None:
    model = LiveModel()
    model.take(status("monitor", NOW, {"packets_offered": 100, "packets_sampled": 100}))
    assert "sampled" not in drawn(model)
    model.take(status("monitor", NOW, {"packets_offered": 450, "packets_sampled": 100}))
    assert "sampled 1 in 4.5" in drawn(model)


@pytest.mark.parametrize("width", [80, 160])
def test_between_passes_nobody_takes_old_values_for_new_ones(width: int) -> None:
    model = LiveModel()
    model.take(parameters(scet_s=[-3, -2, -1, 0], state=LimitState.NOMINAL))
    model.take(link(NOW))
    model.take(passes((-9000, 2), (3600, 9000)))
    before, after = drawn(model, NOW + 1 * S, width), drawn(model, NOW + 60 * S, width)
    assert "NO PASS" not in before
    assert "NO PASS: last received" in after
    assert f"{clock(0)}Z" in after[after.index("NO PASS") :].split("─")[0]
    assert "STALE, last received" in after
    assert "in 59 min" in after


def test_before_the_first_telemetry_the_next_pass_is_said_instead_of_waiting() -> None:
    model = LiveModel()
    model.take(passes((3600, 9000)))
    screen = drawn(model)
    assert "NO PASS" in screen
    assert "next Yeoju" in screen
    assert "waiting for the first telemetry" not in screen
    model.take(passes())
    assert "none is planned" in drawn(model)


def test_a_small_screen_has_the_pass_that_is_on_and_the_next_one_whole() -> None:
    model = LiveModel()
    model.take(link(NOW))
    model.take(passes((-600, 5700), (50_700, 90_000)))
    for service in ("archive", "bus", "monitor", "receive", "scheduling"):
        model.take(status(service, NOW))
    screen = drawn(model, width=80, height=24)
    assert f"LOS {clock(5700)[:5]}, in 1 h 35 min" in screen
    assert "next DSS-26 Goldstone" in screen
    assert f"AOS {clock(50_700)[:5]}, in 14 h 5 min" in screen
    assert screen.count("running") == 5
    assert "scheduling" in screen
    assert "restart " in screen


@pytest.mark.parametrize(("width", "no_pass"), [(80, "Z no pass"), (160, "Z in no pass")])
def test_clocks_promise_nothing_that_no_antenna_is_there_for(width: int, no_pass: str) -> None:
    model = LiveModel()
    model.take(link(NOW))
    model.take(passes((-600, 1800), (50_700, 90_000)))
    assert "no pass" not in (screen := drawn(model, NOW, width))
    assert "no uplink now" not in screen
    # From 998 s before LOS on, an answer comes when nobody listens.
    assert no_pass in drawn(model, NOW + 900 * S, width)
    assert "no uplink now" in drawn(model, NOW + 1900 * S, width)


def test_a_value_out_of_limits_that_is_old_says_so() -> None:
    model = LiveModel()
    model.take(parameters(scet_s=[-3, -2, -1, 0], state=LimitState.CRITICAL_HIGH))
    line = next(line for line in drawn(model).splitlines() if "critical high" in line)
    assert "STALE" not in line
    later = drawn(model, NOW + 60 * S)
    line = next(line for line in later.splitlines() if "critical high" in line)
    assert "STALE 1 min 0 s" in line


def test_a_carrier_beside_the_first_says_what_it_brings_and_what_it_misses() -> None:
    model = LiveModel()
    counts = {
        "octets": 4000,
        "good": 1234,
        "missing": 56,
        "uncorrectable": 0,
        "corrected_symbols": 7,
        "packets": 8,
        "last_ert_ns": NOW - 42 * S,
    }
    body = LinkMessage(
        link="downlink",
        time_ns=NOW,
        state="OK",
        detail="",
        carrier=True,
        counts={"carrier optical": counts},
    )
    model.take(Message(Topic.LINK, "receive", "", -1, NOW, body.build()))
    text = drawn(model)
    assert "optical" in text
    assert "1,234 frames, 56 missing" in text
    assert "last 42 s ago" in text


def test_of_several_antennas_it_is_said_which_is_silent_and_which_transmits() -> None:
    model = LiveModel()
    for name, at_ns, carrier in (("yeoju", NOW - 60 * S, True), ("dsn", NOW, True)):
        body = LinkMessage(link=name, time_ns=at_ns, state="OK", detail="", carrier=carrier)
        model.take(Message(f"link.{name}", f"receive.{name}", "", -1, at_ns, body.build()))
        model.take(Message(Topic.LINK, "receive", "", -1, at_ns, body.build()))
    model.take(status("receive", NOW, {"transmits dsn": 1, "transmits yeoju": 0}))
    text = drawn(model)
    assert "dsn OK hears, shown, transmits" in text
    assert "yeoju SILENT" in text


def test_the_line_for_logs_does_not_call_a_link_well_that_is_not_heard_of(tmp_path: Path) -> None:
    model = LiveModel()
    link = LinkMessage("down", NOW, "OK", "", virtual_channels={"0": {"frames": 12}})
    model.take(Message(Topic.LINK, "receive", "", -1, NOW, link.build()))
    nobody = Supervisor({}, tmp_path)
    assert run_line(model, nobody, NOW).startswith("link OK, 12 frames")
    assert run_line(model, nobody, NOW + 60 * S).startswith("link silent, last said OK, 12 frames")
