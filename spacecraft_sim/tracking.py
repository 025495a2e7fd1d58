"""What a station measures of the coherent X-band link: range and Doppler, as a TDM (503.0-B-2).

The station's carrier goes up, the transponder turns its phase around by 880/749, and the station
counts what comes back: over a count interval the mean received frequency is M·f·(1 − Δρ/T), where ρ
is the round-trip light time.  Ranging measures ρ itself, with the transponder's delay in it.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from protocols.errors import LocalError
from protocols.navigation.geometry import F64, SPEED_OF_LIGHT_KM_S
from protocols.navigation.interpolation import I64
from protocols.navigation.tdm import Series, Tdm, TdmSegment
from protocols.timecodes.tai import utc_iso_from_tai_ns
from spacecraft_sim.channel import LightTime
from spacecraft_sim.scenario import TrackingSettings
from spacecraft_sim.subsystems.transponder import X_TURNAROUND, X_UPLINK_HZ

SPACECRAFT: Final = "L4 RELAY"
S: Final = 10**9


def tracking_data(
    light_time: LightTime,
    settings: TrackingSettings,
    *,
    station: str,
    start_ns: int,
    end_ns: int,
    seed: int,
) -> Tdm:
    """Observables of one station between two instants, while the spacecraft is over its mask.

    One segment for each time that it rises.  The same arguments give the same message.  Raises
    LocalError if it is never up for a whole count interval.
    """
    count_ns = round(settings.interval_s * S)
    # Ends of count intervals, aligned, so that where one asks from changes no value.
    first = -(-start_ns // count_ns)
    ends_ns = np.arange(first, end_ns // count_ns + 1, dtype=np.int64) * count_ns
    up = light_time.elevation_deg(ends_ns) >= settings.mask_deg
    segments = [
        _segment(light_time, settings, station, ends_ns[part], seed)
        for part in np.split(np.arange(len(up)), np.flatnonzero(np.diff(up)) + 1)
        if len(part) > 1 and up[part[0]]
    ]
    if not segments:
        raise LocalError(
            f"tracking data of {station}: L4 is never {settings.mask_deg:g} deg up for "
            f"{settings.interval_s:g} s between {utc_iso_from_tai_ns(start_ns)} and "
            f"{utc_iso_from_tai_ns(end_ns)}"
        )
    created = utc_iso_from_tai_ns(end_ns, decimals=0).rstrip("Z")
    return Tdm(
        tuple(segments),
        originator="L4 RELAY SIMULATOR",
        creation_date=created,
        comments=("simulated; CREATION_DATE is the end of the data, in simulated time",),
    )


def _segment(
    light_time: LightTime, settings: TrackingSettings, station: str, ends_ns: I64, seed: int
) -> TdmSegment:
    up_s, down_s = light_time.round_trip_s(ends_ns)
    round_trip_s = up_s + down_s
    numerator, denominator = X_TURNAROUND
    sent_hz = X_UPLINK_HZ * numerator / denominator
    interval_s = settings.interval_s
    middle_ns = ends_ns[1:] - round(interval_s * S) // 2
    received_hz = sent_hz * (1 - np.diff(round_trip_s) / interval_s)
    # A velocity along the line of sight is in the round trip twice.
    doppler_hz = 2 * settings.doppler_noise_mm_s * 1e-6 / SPEED_OF_LIGHT_KM_S * sent_hz
    doppler_hz *= np.sqrt(60 / interval_s)
    range_s = 2 * settings.range_noise_m * 1e-3 / SPEED_OF_LIGHT_KM_S
    delay_s = settings.transponder_delay_ns * 1e-9
    return TdmSegment(
        (station, SPACECRAFT),
        {
            "RANGE": Series(
                ends_ns,
                round_trip_s + delay_s + range_s * _noise(seed, b"range", ends_ns),
            ),
            "RECEIVE_FREQ_1": Series(
                middle_ns, received_hz + doppler_hz * _noise(seed, b"doppler", middle_ns)
            ),
            "TRANSMIT_FREQ_1": Series(
                (ends_ns[:1] - np.rint(round_trip_s[:1] * S).astype(np.int64)),
                np.array([float(X_UPLINK_HZ)]),
            ),
        },
        paths=((1, 2, 1),),
        metadata={
            "MODE": "SEQUENTIAL",
            "TRANSMIT_BAND": "X",
            "RECEIVE_BAND": "X",
            "TURNAROUND_NUMERATOR": str(numerator),
            "TURNAROUND_DENOMINATOR": str(denominator),
            "TIMETAG_REF": "RECEIVE",
            "INTEGRATION_INTERVAL": f"{interval_s:g}",
            "INTEGRATION_REF": "MIDDLE",
            "FREQ_OFFSET": "0.0",
            "RANGE_MODE": "COHERENT",
            "RANGE_UNITS": "s",
            "TRANSMIT_DELAY_2": f"{delay_s:.9f}",
            "DATA_QUALITY": "RAW",
            "CORRECTIONS_APPLIED": "NO",
        },
        comments=(
            "RANGE is the round-trip light time, with the transponder's delay",
            f"noise, 1 sigma, one way: {settings.range_noise_m:g} m, "
            f"{settings.doppler_noise_mm_s:g} mm/s over 60 s",
        ),
    )


def _noise(seed: int, purpose: bytes, times_ns: I64) -> F64:
    """Standard normal, the same for an instant whatever else is asked for."""
    return np.array(
        [np.random.default_rng([seed, *purpose, t_ns]).standard_normal() for t_ns in times_ns]
    )
