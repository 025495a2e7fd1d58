"""Made-up weeks of any size that look like the DSN's: to see how solvers grow.

Three complexes a third of a turn apart see every mission once a sidereal day each, for a time that
depends on its declination; a mission asks for 1 … 25 passes in windows that divide the week.
What is drawn follows the three real weeks of SatNet (W10, W20 and W50 of 2018), a unit of `scale`
being one DSN of 12 antennas.  Every mission may use only a few antennas of each complex, drawn
from all of them: a large week does not fall apart into small ones.

    statistic                          real weeks     scale 1, seeds 1-3   scale 10, seed 1
    requests                           257 … 294      275                  2,750
    missions                           29 … 33        29 … 37              319
    hours asked of antenna-hours       0.55 … 0.65    0.60 … 0.65          0.61
    with set-up and tear-down          0.69 … 0.81    0.75 … 0.79          0.76
    antenna sets a request             5.6 … 5.7      4.6 … 5.8            5.0
    view periods a set                 1.73 … 1.75    1.6 … 1.9            1.8
    median view period, hours          8.0 … 8.6      8.6 … 9.1            9.4
    requests that may be split         0.30 … 0.36    0.35 … 0.40          0.34
    requests that may use an array     0.06 … 0.08    0.06 … 0.16          0.05
    antenna time in maintenance        0.08 … 0.13    0.09 … 0.10          0.10

`tests/ground/scheduling/test_generator.py` keeps it so.
"""

from __future__ import annotations

import math

import numpy as np

from ground.scheduling.model import (
    S_NS,
    Antenna,
    Choice,
    Commitment,
    Interval,
    Mission,
    Problem,
    Request,
    ViewPeriod,
)
from ground.scheduling.satnet import SEGMENT_MINIMUM_S, SPLIT_FROM_S, WEEK_H
from protocols.errors import LocalError

COMPLEXES = ("Goldstone", "Canberra", "Madrid")
#: Latitudes, degrees: which declinations are seen long.
_LATITUDE = (35.4, -35.4, 40.4)
ANTENNAS_A_COMPLEX = 4
SIDEREAL_S = 86164
HOUR_S = 3600

#: (requested, minimum) hours and how many missions of 31 ask for it.
_LENGTHS = (
    (8.0, 6.4, 9),
    (4.0, 4.0, 5),
    (1.0, 1.0, 5),
    (3.5, 3.5, 2),
    (1.1, 1.1, 2),
    (2.5, 2.5, 2),
    (6.0, 6.0, 2),
    (10.0, 8.0, 2),
    (3.0, 3.0, 1),
    (5.3, 5.3, 1),
)
#: Passes that a mission asks for in a week.
_PASSES = (1, 2, 2, 3, 4, 5, 7, 7, 7, 7, 7, 7, 8, 8, 9, 9, 10, 10, 10, 12, 13, 14, 14, 21, 21)
#: Antennas that a mission may use at each complex, and windows of its requests in hours.
_USABLE = (1, 1, 1, 2, 2, 3, 3)
_WINDOW_H = (24, 24, 25, 25.7, 25.7, 35.5, 59, 90)
#: (set-up, tear-down) minutes.
_AROUND = ((60, 15),) * 14 + ((30, 15),) * 3 + ((45, 15),) * 2 + ((60, 40),)
_REQUESTS = 275
_MAINTENANCE = 39


def generate(scale: int = 1, seed: int = 1) -> Problem:
    """A week of `scale` times the DSN: 12 antennas, about 31 missions and 275 requests each.

    The same for a seed.  Raises LocalError for a scale below 1.
    """
    if scale < 1:
        raise LocalError(f"scale {scale}: 1 or more wanted")
    random = np.random.default_rng(seed)
    horizon = Interval(0, WEEK_H * HOUR_S * S_NS)
    antennas = [
        Antenna(f"{place[0]}{number:03d}", complex=place, agency="NASA")
        for place in COMPLEXES
        for number in range(ANTENNAS_A_COMPLEX * scale)
    ]
    lengths = [entry[:2] for entry in _LENGTHS for _ in range(entry[2])]
    deck: list[tuple[float, float]] = []
    missions: list[Mission] = []
    requests: list[Request] = []
    while len(requests) < _REQUESTS * scale:
        name = str(len(missions) + 1)
        missions.append(Mission(name))
        if not deck:
            # From a shuffled deck: small weeks have the mixture of lengths too.
            deck = [lengths[k] for k in random.permutation(len(lengths))]
        requests += _mission(random, name, scale, *deck.pop())
    requests = requests[: _REQUESTS * scale]
    asked = {request.mission for request in requests}
    return Problem(
        name=f"generated-{scale}-{seed}",
        horizon=horizon,
        antennas=tuple(antennas),
        missions=tuple(m for m in missions if m.name in asked),
        requests=tuple(requests),
        commitments=tuple(_maintenance(random, antennas, scale)),
    )


def _mission(
    random: np.random.Generator, name: str, scale: int, wanted_h: float, least_h: float
) -> list[Request]:
    declination = math.degrees(math.asin(0.4 * math.sin(random.uniform(0, 2 * math.pi))))
    phase_s = random.uniform(0, SIDEREAL_S)
    usable = int(random.choice(_USABLE))
    places = 3 if random.random() < 0.7 else int(random.integers(1, 3))
    those = sorted(random.choice(3, size=places, replace=False))
    antennas = {
        place: sorted(random.choice(ANTENNAS_A_COMPLEX * scale, size=min(usable, 3), replace=False))
        for place in those
    }
    # Few missions have their antennas arrayed in pairs.
    arrays = usable > 1 and random.random() < 0.12
    passes = int(random.choice(_PASSES))
    # Long passes are asked for less often than short ones.
    if wanted_h >= 8:
        passes = min(passes, 14)
    window_s = float(random.choice(_WINDOW_H)) * HOUR_S
    setup_min, teardown_min = _AROUND[int(random.integers(len(_AROUND)))]
    found = []
    for number in range(passes):
        begin_s = number * 7 * 86400 / passes
        window = (int(begin_s), int(min(begin_s + window_s, WEEK_H * HOUR_S)))
        choices = _choices(random, declination, phase_s, antennas, arrays, window, least_h)
        if not choices:
            continue
        duration_s = round(wanted_h * HOUR_S)
        split = duration_s >= SPLIT_FROM_S
        found.append(
            Request(
                id=f"{name}-{number + 1}",
                mission=name,
                duration_s=duration_s,
                minimum_s=round(least_h * HOUR_S),
                choices=choices,
                setup_s=setup_min * 60,
                teardown_s=teardown_min * 60,
                segment_minimum_s=SEGMENT_MINIMUM_S if split else 0,
                segments=duration_s // SEGMENT_MINIMUM_S if split else 1,
                window=Interval(window[0] * S_NS, window[1] * S_NS),
            )
        )
    return found


def _choices(
    random: np.random.Generator,
    declination: float,
    phase_s: float,
    antennas: dict[int, list[int]],
    arrays: bool,
    window: tuple[int, int],
    least_h: float,
) -> tuple[Choice, ...]:
    found = []
    for place, numbers in antennas.items():
        half_s = _half_pass_s(declination, _LATITUDE[place])
        sets = [(n,) for n in numbers]
        if arrays:
            sets += [(a, b) for k, a in enumerate(numbers) for b in numbers[k + 1 :]]
        for those in sets:
            # Masks differ by some minutes from antenna to antenna.
            late_s, early_s = random.integers(0, 900, size=2)
            periods = []
            first = -1
            while True:
                centre_s = phase_s + (first + place / 3) * SIDEREAL_S
                if centre_s - half_s >= window[1]:
                    break
                lo = max(window[0], int(centre_s - half_s + late_s))
                hi = min(window[1], int(centre_s + half_s - early_s))
                if hi - lo >= min(least_h, 4.0) * HOUR_S:
                    periods.append(ViewPeriod(lo * S_NS, hi * S_NS))
                first += 1
            if periods:
                names = sorted(f"{COMPLEXES[place][0]}{number:03d}" for number in those)
                found.append(Choice(tuple(names), tuple(periods)))
    return tuple(found)


def _half_pass_s(declination: float, latitude: float) -> float:
    """Half the time above 6° of elevation, from the hour angle at which it gets there."""
    sin, cos = math.sin, math.cos
    phi, delta = math.radians(latitude), math.radians(declination)
    cosine = (sin(math.radians(6)) - sin(phi) * sin(delta)) / (cos(phi) * cos(delta))
    return math.acos(min(1.0, max(-1.0, cosine))) / (2 * math.pi) * SIDEREAL_S


def _maintenance(
    random: np.random.Generator, antennas: list[Antenna], scale: int
) -> list[Commitment]:
    """By antenna without overlap, 2 … 9 h each in its own part of the week."""
    found = []
    slots = [(antenna, day) for antenna in antennas for day in range(7)]
    chosen = random.choice(len(slots), size=_MAINTENANCE * scale, replace=False)
    for index in sorted(chosen):
        antenna, day = slots[index]
        length_s = int(random.uniform(2, 9) * 60) * 60
        begin_s = day * 86400 + int(random.uniform(0, 86400 - length_s) / 60) * 60
        found.append(
            Commitment(antenna.name, Interval(begin_s * S_NS, (begin_s + length_s) * S_NS))
        )
    return found
