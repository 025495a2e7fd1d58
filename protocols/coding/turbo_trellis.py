"""The 16-state trellis of the turbo codes' component encoders, for 32 codewords in lanes.

Written out as LLVM instructions, since the branch of every state is known: nothing is looked up.

A state is the last four bits that went into the register, the newest in bit 0.  States i and i + 8
lead to 2i (the register takes in a 0) and 2i + 1 (a 1).  All connection vectors have both end taps,
so the two branches into a state, and the two out of it, differ in the data bit and in every symbol.

Metrics are int16, logarithms of probabilities in eighths.  They wrap and are never normalised: no
two metrics of a step can differ by as much as 2¹⁴ (four steps lead from any state to any other, of
at most 5 · 127 each, and `CERTAIN` at the ends).
"""

# numba and llvmlite ship no types; the code generators are written in their terms.
# pyright: reportMissingTypeStubs=false, reportUntypedFunctionDecorator=false
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false
from __future__ import annotations

from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils

from protocols.coding.lanes import LANES, WIDE, WIDE_TYPE, intrinsic, place

MEMORY: Final = 4
STATES: Final = 1 << MEMORY
#: Connection vectors, the newest bit first (131.0-B-5 §6.3): backward, then forward.
G0: Final = 0b10011
FORWARD: Final = {"G1": 0b11011, "G2": 0b10101, "G3": 0b11111}
#: What a metric loses in a state that is known not to be the one.
CERTAIN: Final = 4096
#: log(1 + exp(−x)) is taken as a quarter of what x lacks to this (2.5, in eighths), as a straight
#: line.
REACH: Final = 20

_ROW: Final = 2 * LANES * STATES


def branch(state: int, taken: int) -> tuple[int, ...]:
    """Data bit and symbols of G1, G2, G3 when the register takes in a bit `taken`."""
    newest_first = taken << MEMORY | int(f"{state:0{MEMORY}b}"[::-1], 2)
    return tuple((newest_first & taps).bit_count() & 1 for taps in (G0, *FORWARD.values()))


def _constant(value: int) -> Any:
    return ir.Constant(WIDE, [value] * LANES)


def _call(builder: Any, name: str, *args: Any) -> Any:
    kind = ir.FunctionType(WIDE, [argument.type for argument in args])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{LANES}i16")
    return builder.call(function, args)


def _either(builder: Any, a: Any, b: Any) -> Any:
    """log(exp(a) + exp(b)) of wrapping metrics."""
    difference = builder.sub(a, b)
    greater = builder.add(b, _call(builder, "smax", difference, _constant(0)))
    distance = _call(builder, "abs", difference, ir.Constant(ir.IntType(1), 0))
    near = _call(builder, "usub.sat", _constant(REACH), distance)
    return builder.add(greater, builder.lshr(near, _constant(2)))


def _any(builder: Any, metrics: list[Any]) -> Any:
    """log of a sum of exponentials, as a balanced tree."""
    while len(metrics) > 1:
        pairs = zip(metrics[::2], metrics[1::2], strict=True)
        metrics = [_either(builder, a, b) for a, b in pairs]
    return metrics[0]


def _rows(context: Any, builder: Any, kind: Any, array: Any, index: Any, index_kind: Any) -> Any:
    """Gives pointers to the 16 vectors of row `index` of an int16 array [rows, 16, LANES]."""
    kinds = types.void(kind, index_kind)
    start = place(context, builder, kinds, (array, index), _ROW)
    vectors = builder.bitcast(start, WIDE.as_pointer())
    return [builder.gep(vectors, [ir.Constant(ir.IntType(64), s)]) for s in range(STATES)]


def _loaded(builder: Any, pointers: list[Any]) -> list[Any]:
    values = [builder.load(pointer) for pointer in pointers]
    for value in values:
        value.align = 1
    return values


class _Branches:
    """Metrics of a step's branches: minus the log-likelihood ratios of all its bits that are 1."""

    def __init__(self, builder: Any, ratios: Any) -> None:
        self._builder = builder
        self._of: dict[tuple[int, ...], Any] = {}
        self._heads, self._tails = self._pairs(*ratios[:2]), self._pairs(*ratios[2:])

    def _pairs(self, a: Any, b: Any) -> dict[tuple[int, int], Any]:
        zero = _constant(0)
        first, second = self._builder.sub(zero, a), self._builder.sub(zero, b)
        return {(0, 0): zero, (0, 1): second, (1, 0): first, (1, 1): self._builder.sub(first, b)}

    def __getitem__(self, bits: tuple[int, ...]) -> Any:
        if bits not in self._of:
            head, tail = self._heads[bits[0], bits[1]], self._tails[bits[2], bits[3]]
            self._of[bits] = self._builder.add(head, tail)
        return self._of[bits]


@intrinsic
def step_forward(
    typing_context: Any, metrics: Any, row: Any, data: Any, g1: Any, g2: Any, g3: Any
) -> Any:
    """Row + 1 of metrics, int16 [rows, 16, LANES], from `row`.

    data, g1 … g3: wide vectors, log-likelihood ratios of the data bit and of the symbols.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind, index_kind = signature.args[0], types.intp
        index = context.cast(builder, args[1], signature.args[1], types.intp)
        old = _loaded(builder, _rows(context, builder, kind, args[0], index, index_kind))
        after = builder.add(index, ir.Constant(index.type, 1))
        new = _rows(context, builder, kind, args[0], after, index_kind)
        branches = _Branches(builder, args[2:6])
        for lower in range(STATES // 2):
            upper = lower + STATES // 2
            for taken in (0, 1):
                ways = [
                    builder.add(old[state], branches[branch(state, taken)])
                    for state in (lower, upper)
                ]
                builder.store(_either(builder, *ways), new[2 * lower + taken]).align = 1
        return context.get_dummy_value()

    return types.void(metrics, row, data, g1, g2, g3), generate


@intrinsic
def step_back(
    typing_context: Any,
    behind: Any,
    metrics: Any,
    row: Any,
    data: Any,
    g1: Any,
    g2: Any,
    g3: Any,
) -> Any:
    """The log-likelihood ratio of a step's data bit, all symbols heard: a wide vector.

    behind: int16 [1, 16, LANES], metrics of the states after the step by what came behind it;
    gets those before the step.  metrics, row, data, g1 … g3: as for `step_forward`.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        first = ir.Constant(ir.IntType(64), 0)
        after = _rows(context, builder, signature.args[0], args[0], first, types.intp)
        future = _loaded(builder, after)
        kind, index_kind = signature.args[1], signature.args[2]
        past = _loaded(builder, _rows(context, builder, kind, args[1], args[2], index_kind))
        branches = _Branches(builder, args[3:7])
        through: tuple[list[Any], list[Any]] = ([], [])
        for state in range(STATES):
            ways: list[Any] = []
            for taken in (0, 1):
                bits = branch(state, taken)
                way = builder.add(future[2 * state % STATES + taken], branches[bits])
                ways.append(way)
                through[bits[0]].append(builder.add(way, past[state]))
            builder.store(_either(builder, *ways), after[state]).align = 1
        return builder.sub(_any(builder, through[0]), _any(builder, through[1]))

    return WIDE_TYPE(behind, metrics, row, data, g1, g2, g3), generate
