"""Contact plans as ION's commands and HDTN's JSON, both ways.

ION (`ionrc(5)`): `a contact START STOP FROM TO OCTETS_PER_S [CONFIDENCE]`,
`a range START STOP ONE OTHER LIGHT_SECONDS`, `c contact`, `d contact`, `d range`, times
`yyyy/mm/dd-hh:mm:ss` UTC or `+seconds` after the reference time, which `@` sets.  HDTN
(`module/router/src/router.cpp`, `cgr::cp_load`): `{"contacts": [{"contact", "source", "dest",
"startTime", "endTime", "rateBitsPerSec", "owlt"}]}`, whole seconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise, repeat
from operator import itemgetter
from typing import Any, Final, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from protocols.dtn.contact_plan import NODE_LIMIT, Contact, ContactPlan, Range, uncollected
from protocols.errors import LocalError, RemoteError
from protocols.timecodes.tai import (
    NS_PER_SECOND,
    UNIX_EPOCH_DAY,
    day_start_tai_ns_array,
    tai_ns_from_unix_ns,
    tai_ns_from_utc_iso,
    unix_ns_from_tai_ns,
    utc_iso_from_tai_ns,
)

# ---------------------------------------------------------------- ION


def build_ion(plan: ContactPlan) -> bytes:
    """Commands for `ionadmin`: whole seconds, octets and light seconds.

    A contact is rounded inwards, a range outwards as far as its neighbours leave it room; a contact
    in which no whole second or no octet a second is left is dropped, since ION could not say it.
    """
    lines = [f"# ipn:{number}.0 is {name}" for number, name in sorted(plan.names.items())]
    until: dict[tuple[int, int], int] = {}
    for r in plan.ranges:
        start_ns = max(_floor(r.start_ns), until.get((r.one, r.other), 0))
        end_ns = until[r.one, r.other] = -_floor(-r.end_ns)
        if end_ns > start_ns:
            owlt_s = round(r.owlt_ns / NS_PER_SECOND)
            lines.append(f"a range {_ion(start_ns)} {_ion(end_ns)} {r.one} {r.other} {owlt_s}")
    for c in plan.contacts:
        start_ns, end_ns, rate = -_floor(-c.start_ns), _floor(c.end_ns), c.rate_bit_s // 8
        if end_ns > start_ns and rate:
            confidence = "" if c.confidence == 1.0 else f" {c.confidence!r}"
            lines.append(
                f"a contact {_ion(start_ns)} {_ion(end_ns)} {c.source} {c.dest} {rate}{confidence}"
            )
    return ("\n".join(lines) + "\n").encode()


def _floor(ns: int) -> int:
    # TAI − UTC is a whole number of seconds.
    return ns // NS_PER_SECOND * NS_PER_SECOND


def _ion(tai_ns: int) -> str:
    iso = utc_iso_from_tai_ns(tai_ns, decimals=0)
    return iso.rstrip("Z").replace("-", "/").replace("T", "-")


#: Commands of ionadmin that are not about the plan; files mix them with it.
_OTHER_COMMANDS: Final = frozenset("1ehilmqsvwx?")


@uncollected()
def read_ion(
    text: str, *, base: ContactPlan | None = None, reference_ns: int | None = None
) -> ContactPlan:
    """The plan after these ionadmin commands, given to `base` (an empty plan).

    reference_ns: what `+seconds` count from until the first `@`.  Registrations (start −1) and
    hypothetical contacts (stop 0) are passed over: nothing can be sent in them.  RemoteError
    names the line.
    """
    reader = _IonReader(base or ContactPlan(), reference_ns)
    lines = text.splitlines()
    for begin in range(0, len(lines), _CHUNK_LINES):
        rows = list(map(str.split, lines[begin : begin + _CHUNK_LINES]))
        adds = _adds(rows)
        if adds and all(map(reader.add_all, adds)):
            continue
        for number, words in enumerate(rows, start=begin + 1):
            if not words or words[0].startswith("#"):
                continue
            try:
                reader.command(words)
            except (ValueError, IndexError) as error:
                why = f": {error}" if isinstance(error, LocalError) else ""
                raise RemoteError(
                    f"contact plan, line {number}: {' '.join(words)[:80]!r}"
                    f"{why or ' is no command for contacts or ranges'}"
                ) from error
    try:
        return ContactPlan(
            tuple(reader.contacts.values()), tuple(reader.ranges.values()), reader.names
        )
    except LocalError as error:
        raise RemoteError(f"contact plan: {error}") from error


#: Read together, as columns, if they only add; one by one otherwise.
_CHUNK_LINES: Final = 1024
_ADD_WORDS: Final = 7


def _adds(rows: list[list[str]]) -> list[list[list[str]]]:
    """The rows by kind and number of words; nothing if one of them is no `a` with its words."""
    if set(map(len, rows)) == {_ADD_WORDS} and set(map(itemgetter(0), rows)) == {"a"}:
        kinds = set(map(itemgetter(1), rows))
        if len(kinds) == 1:
            return [rows]
    by_kind: dict[tuple[str, int], list[list[str]]] = {}
    for words in rows:
        if words and not words[0].startswith("#"):
            if words[0] != "a" or len(words) < _ADD_WORDS:
                return []
            by_kind.setdefault((words[1], len(words)), []).append(words)
    return list(by_kind.values())


class _IonReader:
    def __init__(self, base: ContactPlan, reference_ns: int | None) -> None:
        self.contacts = {c.key: c for c in base.contacts}
        self.ranges = {r.key: r for r in base.ranges}
        self.names = base.names
        self._reference_ns = reference_ns

    def command(self, words: list[str]) -> None:
        verb = words[0]
        if verb == "a":
            table, items = self._parse_adds([words])
            for item in items:
                # The same once more is what ION takes as well.
                if table.setdefault(item.key, item) != item:
                    raise LocalError(f"begins as {table[item.key]}, and differs from it")
        elif verb == "c" and words[1] == "contact":
            _, _, start, source, dest, rate, *more = words
            key = int(source), int(dest), self._ns(start)
            if key not in self.contacts:
                raise LocalError("no such contact")
            confidence = _confidence(more) if more else self.contacts[key].confidence
            self.contacts[key] = self.contacts[key]._replace(
                rate_bit_s=8 * int(rate), confidence=confidence
            )
        elif verb == "d" and words[1] in ("contact", "range"):
            _, _, start, one, other = words
            table = self.contacts if words[1] == "contact" else self.ranges
            self._delete(table, start, int(one), int(other))
        elif verb == "@":
            _, start = words
            self._reference_ns = self._ns(start)
        elif verb not in _OTHER_COMMANDS:
            raise ValueError

    def add_all(self, rows: list[list[str]]) -> bool:
        """False if one of them is wrong or known already: then they go one by one."""
        try:
            table, items = self._parse_adds(rows)
        except (ValueError, IndexError):
            return False
        fresh: dict[_Key, Any] = {(item[2], item[3], item[0]): item for item in items}
        if len(fresh) < len(items) or not table.keys().isdisjoint(fresh):
            return False
        table.update(fresh)
        return True

    def _parse_adds(self, rows: list[list[str]]) -> tuple[dict[_Key, Any], list[Any]]:
        """Rows of one length that begin alike."""
        kind = rows[0][1]
        if kind == "contact":
            if len(rows[0]) not in (7, 8):
                raise ValueError
            rows = [row for row in rows if row[2] != "-1" and row[3] != "0"]
        elif kind != "range" or len(rows[0]) != 7:
            raise ValueError
        table: dict[_Key, Any] = self.contacts if kind == "contact" else self.ranges
        if not rows:
            return table, []
        _, _, starts, stops, ones, others, values, *more = zip(*rows, strict=True)
        intervals = self._all_ns(starts), self._all_ns(stops), map(int, ones), map(int, others)
        if kind == "range":
            owlts = (int(value) * NS_PER_SECOND for value in values)
            return table, list(map(Range, *intervals, owlts))
        rates = (8 * int(value) for value in values)
        confidences = map(float, more[0]) if more else repeat(1.0)
        return table, list(map(Contact, *intervals, rates, confidences))

    def _delete(self, table: dict[_Key, Any], start: str, one: int, other: int) -> None:
        if start in ("-1", "0"):
            return
        if start == "*":
            for key in [k for k in table if k[:2] == (one, other)]:
                del table[key]
        elif table.pop((one, other, self._ns(start)), None) is None:
            raise LocalError("no such contact or range")

    def _all_ns(self, texts: Sequence[str]) -> list[int]:
        if len(texts) == 1 or set(map(len, texts)) != {len(_ION_TIME)}:
            return [self._ns(text) for text in texts]
        ns, sound = _ion_times_ns(texts)
        times: list[int] = ns.tolist()
        for i in np.flatnonzero(~sound).tolist():
            times[i] = self._ns(texts[i])
        return times

    def _ns(self, text: str) -> int:
        if text.startswith("+"):
            if self._reference_ns is None:
                raise LocalError(f"{text}: no reference time is known; give one, or a command @")
            return self._reference_ns + int(text[1:]) * NS_PER_SECOND
        if len(text) != len(_ION_TIME) or any(text[i] != _ION_TIME[i] for i in _SEPARATORS):
            raise LocalError(f"{text!r} is not a time like {_ION_TIME}")
        return tai_ns_from_utc_iso(f"{text[:10].replace('/', '-')}T{text[11:]}Z")


_Key = tuple[int, int, int]
_ION_TIME: Final = "2026/11/22-21:00:00"
_SEPARATORS: Final = [i for i, letter in enumerate(_ION_TIME) if not letter.isdigit()]
_DIGITS: Final = [i for i, letter in enumerate(_ION_TIME) if letter.isdigit()]


def _ion_times_ns(texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """TAI ns of absolute times of 19 letters, and which are sound; a leap second is not."""
    letters = np.array(texts, f"S{len(_ION_TIME)}").view(np.uint8).reshape(len(texts), -1)
    digits = letters[:, _DIGITS].astype(np.int64) - ord("0")
    sound = ((digits >= 0) & (digits <= 9)).all(1)
    sound &= (letters[:, _SEPARATORS] == [ord(_ION_TIME[i]) for i in _SEPARATORS]).all(1)
    year = digits[:, :4] @ [1000, 100, 10, 1]
    month, day, hour, minute, second = (
        digits[:, i] * 10 + digits[:, i + 1] for i in range(4, 14, 2)
    )
    sound &= (year > 0) & (month >= 1) & (month <= 12) & (day >= 1)
    sound &= (hour <= 23) & (minute <= 59) & (second <= 59)
    months = np.where(sound, (year - 1970) * 12 + month - 1, 0).astype("M8[M]")
    first, following = (m.astype("M8[D]").astype(np.int64) for m in (months, months + 1))
    sound &= day <= following - first
    of_day = ((hour * 60 + minute) * 60 + second) * NS_PER_SECOND
    return day_start_tai_ns_array(first + day - 1 + UNIX_EPOCH_DAY) + of_day, sound


def _confidence(words: list[str]) -> float:
    if not words:
        return 1.0
    (confidence,) = words
    return float(confidence)


# ---------------------------------------------------------------- HDTN


def build_hdtn(plan: ContactPlan, *, reference_ns: int | None = None) -> bytes:
    """Whole seconds, contacts rounded inwards: of Unix time, or after reference_ns.

    Unix time is for a router that is started with Unix timestamps.  LocalError if a contact's light
    time is not known.
    """
    contacts: list[dict[str, int]] = []
    for c, owlt_ns in zip(plan.contacts, plan.owlts_ns(), strict=True):
        if owlt_ns is None:
            raise LocalError(f"{c}: no range says its light time")
        start_s, end_s = (
            _hdtn_s(-_floor(-c.start_ns), reference_ns),
            _hdtn_s(_floor(c.end_ns), reference_ns),
        )
        if end_s > start_s:
            contacts.append(
                {
                    "contact": len(contacts),
                    "source": c.source,
                    "dest": c.dest,
                    "startTime": start_s,
                    "endTime": end_s,
                    "rateBitsPerSec": c.rate_bit_s,
                    "owlt": round(owlt_ns / NS_PER_SECOND),
                }
            )
    return json.dumps({"contacts": contacts}, indent=2).encode() + b"\n"


def _hdtn_s(tai_ns: int, reference_ns: int | None) -> int:
    since = unix_ns_from_tai_ns(tai_ns) if reference_ns is None else tai_ns - reference_ns
    return int(since) // NS_PER_SECOND


@uncollected()
def read_hdtn(
    text: str | bytes, *, reference_ns: int | None = None, unlimited_bit_s: int | None = None
) -> ContactPlan:
    """The plan of HDTN's router, with a range for each contact.

    reference_ns: what its seconds count from (Unix time if None).  unlimited_bit_s: the rate for
    contacts of rate 0, by which HDTN means that it sets no limit.  RemoteError if it is no such
    document, with the contact's index.
    """
    try:
        document: Any = json.loads(text)
        entries: list[Any] = list(document["contacts"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RemoteError(f"HDTN contact plan: no object with contacts: {error!r}") from error
    contacts: list[Contact] = []
    ranges: list[Range] = []
    for index, entry in enumerate(entries):
        start_s, end_s, source, dest, rate, owlt_s = (
            _hdtn_field(entry, index, name)
            for name in ("startTime", "endTime", "source", "dest", "rateBitsPerSec", "owlt")
        )
        if rate == 0:
            if unlimited_bit_s is None:
                _refuse(index, "rateBitsPerSec 0 is no limit to HDTN; say which rate that is here")
            rate = unlimited_bit_s
        if reference_ns is None:
            start_ns, end_ns = (tai_ns_from_unix_ns(s * NS_PER_SECOND) for s in (start_s, end_s))
        else:
            start_ns, end_ns = (reference_ns + s * NS_PER_SECOND for s in (start_s, end_s))
        contacts.append(Contact(start_ns, end_ns, source, dest, rate))
        ranges.append(Range(start_ns, end_ns, source, dest, owlt_s * NS_PER_SECOND))
    try:
        return ContactPlan(tuple(contacts), tuple(_joined(ranges)))
    except (LocalError, OverflowError) as error:
        raise RemoteError(f"HDTN contact plan: {error}") from error


def _hdtn_field(entry: Any, index: int, name: str) -> int:
    value: Any = cast("dict[str, Any]", entry).get(name) if isinstance(entry, dict) else None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < NODE_LIMIT:
        _refuse(index, f"{name} {value!r}; a whole number from 0 to 2^64 − 1 wanted")
    return value


def _refuse(index: int, why: str) -> NoReturn:
    raise RemoteError(f"HDTN contact plan, contact {index}: {why}")


def _joined(ranges: list[Range]) -> Iterator[Range]:
    """Touching ranges of one pair and one light time as one."""
    by_pair: dict[tuple[int, int], list[Range]] = {}
    for r in sorted(ranges):
        by_pair.setdefault((r.one, r.other), []).append(r)
    for group in by_pair.values():
        first = group[0]
        for before, r in pairwise(group):
            if before.end_ns != r.start_ns or before.owlt_ns != r.owlt_ns:
                yield first._replace(end_ns=before.end_ns)
                first = r
        yield first._replace(end_ns=group[-1].end_ns)
