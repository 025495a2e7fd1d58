"""Checks of the machine and of what is installed on it; each gives findings and changes nothing."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

from ground.doctor.finding import Check, Finding, error, ok, skipped, warning
from protocols.timecodes.tai import (
    LEAP_SECONDS,
    LEAP_SECONDS_EXPIRE,
    NS_PER_DAY,
    tai_ns_from_unix_ns,
    tai_ns_from_utc_iso,
    utc_iso_from_tai_ns,
)

DISTRIBUTION: Final = "l4-relay-ground"
#: Sockets of the bus, journal segments, WebSockets of browsers: a large site has some hundreds.
FEWEST_FILES: Final = 1024
#: Where an operator puts the IERS's list, and where Debian, Fedora and Arch do (package tzdata).
LEAP_SECOND_LISTS: Final = (
    Path("/etc/l4/leap-seconds.list"),
    Path("/usr/share/zoneinfo/leap-seconds.list"),
)
#: Of NTP, 1900-01-01, in Unix time.
_NTP_EPOCH_S: Final = -2_208_988_800
#: adjtimex(2): the clock is not synchronised.
_TIME_ERROR: Final = 5
#: A clock that is off by more than this is of no use to a station.
WORST_CLOCK_S: Final = 0.1
_EARLY_NS: Final = 90 * NS_PER_DAY


def python_and_packages(_: None) -> Iterator[Finding]:
    """Whether what pyproject.toml asks for is what is installed."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    version = ".".join(map(str, sys.version_info[:3]))
    asked = metadata.metadata(DISTRIBUTION)["Requires-Python"]
    if asked and not SpecifierSet(asked).contains(version):
        yield error("python", f"Python {version}", f"install Python {asked}")
    else:
        yield ok("python", f"Python {version}, {sys.executable}")
    wrong: list[str] = []
    wanted = [Requirement(one) for one in metadata.requires(DISTRIBUTION) or ()]
    wanted = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    for one in wanted:
        try:
            found = metadata.version(one.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{one.name} is missing, {one.specifier} wanted")
            continue
        if not one.specifier.contains(found, prereleases=True):
            wrong.append(f"{one.name} {found}, {one.specifier} wanted")
    if wrong:
        do = f"install again: {sys.executable} -m pip install --upgrade {DISTRIBUTION}"
        yield error("packages", "; ".join(wrong), do)
    else:
        yield ok("packages", f"{DISTRIBUTION} {metadata.version(DISTRIBUTION)}, {len(wanted)} more")


def compiled_kernels(_: None) -> Iterator[Finding]:
    """Without a cache every service compiles at every start, for half a minute.  A directory that
    is not there yet is made when it is needed."""
    import protocols

    named = os.environ.get("NUMBA_CACHE_DIR")
    beside = Path(protocols.__file__).parent
    places = [Path(named)] if named else [beside, Path.home() / ".cache"]
    for place in places:
        there = next(one for one in (place, *place.absolute().parents) if one.exists())
        if there.is_dir() and os.access(there, os.W_OK):
            yield ok("compiled kernels", f"kept in {place}")
            break
    else:
        tried = ", ".join(map(str, places))
        do = "set NUMBA_CACHE_DIR to a directory that the services may write, as /var/cache/l4"
        yield error("compiled kernels", f"cannot be kept in {tried}", do)


def file_descriptors(_: None) -> Iterator[Finding]:
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FEWEST_FILES:
        do = f"ulimit -n {4 * FEWEST_FILES}, or LimitNOFILE= of the unit"
        yield warning("file descriptors", f"{soft} a process, {FEWEST_FILES} wanted", do)
    else:
        yield ok("file descriptors", f"{soft:,} a process")


def system_clock(_: None) -> Iterator[Finding]:
    """Whether the kernel says that its clock is synchronised, and how far off it may be."""
    do = "start chrony (or systemd-timesyncd) and wait until `chronyc tracking` is content"
    installed_s = Path(__file__).stat().st_mtime
    if (now_s := time.time()) < installed_s - 86_400:
        said = f"{time.strftime('%Y-%m-%d', time.gmtime(now_s))}: before this was installed"
        yield error("system clock", said, f"set it; {do}")
        return
    try:
        call = ctypes.CDLL(None, use_errno=True).adjtimex
    except AttributeError:
        yield skipped("system clock", "this system does not say whether it is synchronised")
        return
    # struct timex of 64-bit Linux: modes, offset, freq, maxerror (µs), …; no mode: read only.
    timex = (ctypes.c_long * 32)()
    state = call(ctypes.byref(timex))
    if state < 0 or ctypes.sizeof(ctypes.c_long) != 8:
        yield skipped("system clock", "the kernel does not say whether it is synchronised")
    elif state == _TIME_ERROR:
        yield warning("system clock", "not synchronised", do)
    elif (off_s := timex[3] / 1e6) > WORST_CLOCK_S:
        yield warning("system clock", f"synchronised, and may be {off_s:.1f} s off", do)
    else:
        yield ok("system clock", f"synchronised within {off_s * 1e3:.1f} ms")


def leap_seconds(_: None) -> Iterator[Finding]:
    """Ours against the newest list there is here, and whether either is still good.  A list that
    says what ours says prolongs it; one that says otherwise wants another version of us."""
    now_ns = int(tai_ns_from_unix_ns(time.time_ns()))
    ours, ours_until_ns = (
        LEAP_SECONDS[-1][1],
        tai_ns_from_utc_iso(f"{LEAP_SECONDS_EXPIRE}T00:00:00Z"),
    )
    said = f"TAI − UTC is {ours} s, by a table good until {LEAP_SECONDS_EXPIRE}"
    own_list = LEAP_SECOND_LISTS[0]
    upgrade = (
        f"`apt install --only-upgrade tzdata`, or put the IERS's newest leap-seconds.list at "
        f"{own_list}: if it says {ours} s, all is well; else upgrade {DISTRIBUTION}"
    )
    lists = [
        (*read_leap_seconds(path.read_text()), path)
        for path in LEAP_SECOND_LISTS
        if os.access(path, os.R_OK)
    ]
    if lists:
        theirs, until_ns, listed = max(lists, key=lambda one: one[1])
        until = utc_iso_from_tai_ns(until_ns, decimals=0)[:10]
        said += f"; {listed} (good until {until}) says {theirs} s"
        if theirs != ours and until_ns > ours_until_ns:
            yield error("leap seconds", said, f"upgrade {DISTRIBUTION}: ours lacks a leap second")
            return
        ours_until_ns = max(ours_until_ns, until_ns)
    if now_ns > ours_until_ns:
        yield warning("leap seconds", f"{said}: expired", upgrade)
    else:
        yield ok("leap seconds", said)


def read_leap_seconds(text: str) -> tuple[int, int]:
    """(TAI − UTC of the last entry in s, expiry as TAI ns) of the IERS's leap-seconds.list."""
    expiry = re.search(r"^#@\s+(\d+)", text, re.M)
    entries = re.findall(r"^(\d+)\s+(\d+)", text, re.M)
    until_s = int(expiry[1]) + _NTP_EPOCH_S if expiry else 0
    return int(entries[-1][1]) if entries else 0, int(tai_ns_from_unix_ns(until_s * 10**9))


def ephemeris(_: None) -> Iterator[Finding]:
    """Whether the geometry of the coming year can be computed, and how well the Earth's rotation
    is known."""
    from ground.scheduling.sky import COVERED_NS, open_ephemeris

    now_ns = int(tai_ns_from_unix_ns(time.time_ns()))
    end = utc_iso_from_tai_ns(COVERED_NS[1], decimals=0)[:10]
    if now_ns + 365 * NS_PER_DAY > COVERED_NS[1]:
        yield error("ephemeris", f"DE421 ends {end}", "install an ephemeris that reaches further")
    else:
        yield ok("ephemeris", f"DE421, until {end}")
    _, _, known_ns = open_ephemeris()
    known = utc_iso_from_tai_ns(known_ns, decimals=0)[:10]
    if now_ns > known_ns:
        do = "upgrade skyfield-data; until then rise and set are some tenths of a second off"
        yield warning("Earth orientation", f"known until {known}", do)
    elif now_ns + _EARLY_NS > known_ns:
        yield warning("Earth orientation", f"known until {known}", "upgrade skyfield-data soon")
    else:
        yield ok("Earth orientation", f"known until {known}")


CHECKS: Final[tuple[Check[None], ...]] = (
    python_and_packages,
    compiled_kernels,
    file_descriptors,
    system_clock,
    leap_seconds,
    ephemeris,
)
