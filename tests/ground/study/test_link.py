"""`l4 study link`: columns against Skyfield, refusals."""

from __future__ import annotations

import csv
import io
import json
import sys

import numpy as np
import pytest

from ground.cli import main
from ground.scheduling.sky import Sky
from protocols.timecodes.tai import tai_ns_from_utc_iso


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["l4", "study", "link", *words])
    with pytest.raises(SystemExit) as end:
        main()
    code = end.value.code
    return code if isinstance(code, int) else 0, *capsys.readouterr()


def test_mars_through_the_conjunction_of_2028(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    span = ("mars", "earth", "--from", "2028-03-01", "--to", "2028-04-10")
    rows = json.loads(run(monkeypatch, capsys, *span, "--json")[1])
    sky = Sky(tai_ns_from_utc_iso("2028-03-01"), tai_ns_from_utc_iso("2028-04-11"))
    t = sky.time(np.arange(40) * 86_400.0)
    here = sky.ephemeris["earth"].at(t)
    mars, sun = (here.observe(sky.ephemeris[name]) for name in ("mars", "sun"))
    for column, true, within in (
        ("light_time_s", mars.light_time * 86_400, 2e-6),
        ("sun_angle_receiver_deg", mars.separation_from(sun).degrees, 2e-6),
    ):
        np.testing.assert_allclose([row[column] for row in rows], true, atol=within)
    h = 30.0
    later, sooner = (
        sky.ephemeris["earth"].at(sky.time(np.arange(40) * 86_400.0 + k)).observe(
            sky.ephemeris["mars"]
        ).light_time * 86_400
        for k in (h, -h)
    )  # fmt: skip
    rate = (later - sooner)[1:] / (2 * h)
    ours = np.array([row["range_rate_km_s"] for row in rows])[1:]
    np.testing.assert_allclose(ours, 299_792.458 * rate, atol=2e-3)
    # ν received / ν sent = 1 − dτ/dt of reception.
    ppm = np.array([row["doppler_ppm"] for row in rows])[1:]
    np.testing.assert_allclose(ppm, -1e6 * rate, atol=0.01)


def test_behind_the_sun_in_2045_and_csv_and_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    span = ("mars", "earth", "--from", "2045-05-01", "--to", "2045-05-04", "--step", "43200")
    out = run(monkeypatch, capsys, *span, "--csv")[1]
    behind = {row["received_utc"]: row["behind"] for row in csv.DictReader(io.StringIO(out))}
    assert behind["2045-05-02T12:00:00Z"] == "sun"
    assert behind["2045-05-01T00:00:00Z"] == ""
    assert "sun" in run(monkeypatch, capsys, *span)[1]


def test_what_is_wrong_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, why in (
        (("mars", "mars", "--from", "2026", "--to", "2026"), "two different places"),
        (("mars", "earth", "--from", "2026", "--to", "2045", "--step", "1"), "lines; 1 to"),
        (("vulcan", "earth", "--from", "2026", "--to", "2026"), "target 'vulcan'"),
    ):
        code, _, errors = run(monkeypatch, capsys, *words)
        assert code == 2
        assert why in errors
