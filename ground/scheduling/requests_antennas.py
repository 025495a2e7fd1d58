"""Antenna choices as people say them -> sets of antennas.

DSS-25                        one antenna
DSS-25 + DSS-26               both together: an array
any 34 m at Goldstone         each one alone
any 34 m at Goldstone + any 34 m at Canberra      a DDOR baseline: one here, one there
big dishes                    a set of the file's [sets], which holds such expressions
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product

from ground.scheduling.model import Antenna
from ground.scheduling.requests_fields import COUNT, NUMBER, TEXT, RequestFileError, key

#: More sets than that from one expression are a slip (any + any + any of 50 antennas).
MOST_SETS = 2000


@dataclass(frozen=True)
class AntennaRow:
    """`[[antenna]]`: an antenna that the station file lacks, or has otherwise."""

    name: str = key(TEXT)
    complex: str = key(TEXT, "")
    agency: str = key(TEXT, "")
    mspa: int = key(COUNT, 1)
    diameter_m: float = key(NUMBER, 0.0)

    def antenna(self) -> Antenna:
        return Antenna(self.name, self.complex, self.agency, self.mspa)


_ANY = re.compile(
    r"any(?:\s+(?P<diameter>\d+(?:\.\d+)?)\s*m)?(?:\s+at\s+(?P<complex>.+?))?"
    r"(?:\s+of\s+(?P<agency>.+))?",
    re.ASCII,
)


def expand(
    expressions: Iterable[str],
    antennas: Mapping[str, AntennaRow],
    sets: Mapping[str, tuple[str, ...]],
    where: str,
) -> tuple[tuple[str, ...], ...]:
    """Antenna sets in the order in which they are named, each once, its antennas sorted.

    Raises RequestFileError, which begins with `where` and names what exists.
    """
    found: dict[tuple[str, ...], None] = {}
    for expression in expressions:
        for names in _expression(expression, antennas, sets, where, ()):
            found[names] = None
    return tuple(found)


def _expression(
    text: str,
    antennas: Mapping[str, AntennaRow],
    sets: Mapping[str, tuple[str, ...]],
    where: str,
    inside: tuple[str, ...],
) -> list[tuple[str, ...]]:
    terms = [_term(part.strip(), antennas, sets, where, inside) for part in text.split("+")]
    count = 1
    for term in terms:
        count *= len(term)
    if count > MOST_SETS:
        raise RequestFileError(f"{where}: {text!r} means {count} sets, {MOST_SETS} at most allowed")
    found: dict[tuple[str, ...], None] = {}
    for combination in product(*terms):
        names = [name for part in combination for name in part]
        if len(set(names)) == len(names):
            found[tuple(sorted(names))] = None
    if not found:
        raise RequestFileError(f"{where}: {text!r} needs the same antenna twice")
    return list(found)


def _term(
    text: str,
    antennas: Mapping[str, AntennaRow],
    sets: Mapping[str, tuple[str, ...]],
    where: str,
    inside: tuple[str, ...],
) -> list[tuple[str, ...]]:
    if text in antennas:
        return [(text,)]
    if text in sets:
        if text in inside:
            raise RequestFileError(f"{where}: set {text!r} holds itself")
        members = (_expression(e, antennas, sets, where, (*inside, text)) for e in sets[text])
        return [names for member in members for names in member]
    if match := _ANY.fullmatch(text):
        return _any(text, match, antennas, where)
    near = difflib.get_close_matches(text, [*antennas, *sets], 1, 0.5)
    hint = f"{near[0]} meant? " if near else ""
    known = ", ".join([*antennas, *sets]) or "none"
    raise RequestFileError(
        f"{where}: {text!r} is no antenna and no set; {hint}Known: {known}; "
        "or like 'any 34 m at Goldstone', 'DSS-25 + DSS-26'"
    )


def _any(
    text: str, match: re.Match[str], antennas: Mapping[str, AntennaRow], where: str
) -> list[tuple[str, ...]]:
    diameter = float(match["diameter"]) if match["diameter"] else None
    rows = list(antennas.values())
    for field in ("complex", "agency"):
        known = sorted({getattr(row, field) for row in rows} - {""})
        if match[field] and match[field] not in known:
            raise RequestFileError(
                f"{where}: {text!r}: no {field} {match[field]!r}. "
                f"Known: {', '.join(known) or 'none'}"
            )
        rows = [row for row in rows if match[field] in (None, getattr(row, field))]
    fitting = [row for row in rows if diameter in (None, row.diameter_m)]
    if not fitting:
        sizes = sorted({f"{row.diameter_m:g} m" for row in rows if row.diameter_m})
        raise RequestFileError(
            f"{where}: {text!r}: no such antenna there. Diameters there: "
            f"{', '.join(sizes) or 'not known'}"
        )
    return [(row.name,) for row in fitting]
