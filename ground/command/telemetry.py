"""The newest live value of every parameter, and how old it is.

Age is counted from when the value left the spacecraft, its light time included, by the ground's
clock: an on-board clock that is wrong makes no value younger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from protocols.bus.messages import ParametersMessage, ParameterTable
from protocols.telecommand.declaration import Constraint
from protocols.telemetry.limits import LimitState


@dataclass(frozen=True, slots=True)
class Sample:
    """value: engineering; raw: as sent; limit_state: None if it has no limits."""

    parameter: str
    value: Any
    raw: Any
    unit: str
    scet_ns: int
    ert_ns: int
    limit_state: LimitState | None

    def age_s(self, now_ns: int, owlt_ns: int) -> float:
        """Since it left the spacecraft."""
        return max(0, now_ns - self.ert_ns + owlt_ns) / 1e9


class Telemetry:
    """What `monitor` says, newest by ERT; stored data says nothing of the present."""

    def __init__(self, remembered: Iterable[str] = ()) -> None:
        #: Parameters whose newest values outlast a restart, as they were then.
        self._remembered: dict[str, Sample | None] = dict.fromkeys(remembered)
        #: By definition: its newest table with a live row, and that row.
        self._tables: dict[str, tuple[ParameterTable, int]] = {}
        #: Parameter → definitions that have it.
        self._places: dict[str, list[str]] = {}

    def take(self, message: ParametersMessage) -> None:
        for table in message.tables:
            live = np.flatnonzero(~table.playback)
            if not len(live):
                continue
            row = int(live[np.argmax(table.ert_ns[live])])
            known = self._tables.get(table.definition)
            if known is None:
                for column in table.columns:
                    self._places.setdefault(column.name, []).append(table.definition)
            elif known[0].ert_ns[known[1]] > table.ert_ns[row]:
                continue
            self._tables[table.definition] = (table, row)

    @property
    def parameters(self) -> list[str]:
        """Names of all that have been heard."""
        return sorted(self._places)

    def sample(self, parameter: str) -> Sample | None:
        """The newest; None if none was heard."""
        found: tuple[ParameterTable, int] | None = None
        for definition in self._places.get(parameter, ()):
            table, row = self._tables[definition]
            if found is None or table.ert_ns[row] > found[0].ert_ns[found[1]]:
                found = table, row
        if found is None:
            return self._remembered.get(parameter)
        table, row = found
        column = table.column(parameter)
        states = column.limit_state
        scet_ns = int(table.scet_ns[row])
        return Sample(
            parameter,
            _plain(column.engineering[row]),
            scet_ns if column.raw is None else _plain(column.raw[row]),
            column.unit,
            scet_ns,
            int(table.ert_ns[row]),
            LimitState(int(states[row])) if len(states) else None,
        )

    def snapshot(self) -> list[list[Any]]:
        """Of the parameters that are to be remembered, for `restore`."""
        samples = [self.sample(name) for name in self._remembered]
        return [
            [
                *(one.parameter, one.value, one.raw, one.unit, one.scet_ns, one.ert_ns),
                None if one.limit_state is None else int(one.limit_state),
            ]
            for one in samples
            if one is not None
        ]

    def restore(self, snapshot: list[list[Any]]) -> None:
        """As old as they are now."""
        for parameter, value, raw, unit, scet_ns, ert_ns, state in snapshot:
            limit = None if state is None else LimitState(state)
            self._remembered[parameter] = Sample(
                parameter, value, raw, unit, scet_ns, ert_ns, limit
            )


def _plain(value: Any) -> Any:
    """A Python number, text or list for one of NumPy's."""
    return (
        value.item() if isinstance(value, np.generic) else getattr(value, "tolist", lambda: value)()
    )


def violation(
    constraint: Constraint, sample: Callable[[str], Sample | None], now_ns: int, owlt_ns: int
) -> str:
    """Why a constraint does not hold, for the operator; empty if it does."""
    found = sample(constraint.parameter)
    if found is None:
        return f"{constraint}: {constraint.parameter} has not been received"
    age_s = found.age_s(now_ns, owlt_ns)
    if age_s > constraint.within_s:
        return (
            f"{constraint}: {constraint.parameter} = {found.value} is {age_s:.0f} s old, "
            f"{constraint.within_s:.0f} s allowed"
        )
    if not constraint.holds(found.value):
        unit = f" {found.unit}" if found.unit else ""
        return f"{constraint}: it is {found.value}{unit}, {age_s:.0f} s ago"
    return ""
