"""The 64-state trellis of the k = 7 code, for 32 streams in lanes: one step forward, one back.

Written out as LLVM instructions, since the branch of every state is known: nothing is looked up.

A state is the last six bits, the newest in bit 0.  States i and i + 32 lead to 2i (bit 0) and
2i + 1 (bit 1); both polynomials have both end taps, so the two branches into a state, and the two
out of it, differ in both symbols.
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

from protocols.coding.lanes import LANES, LANES_TYPE, VECTOR, WIDE, WORD, intrinsic, place

MEMORY: Final = 6
STATES: Final = 1 << MEMORY
#: G1 and G2, the newest bit first (131.0-B-5 §3.3.1).
G1: Final = 0o171
G2: Final = 0o133


def branch(state: int, bit: int) -> tuple[int, int]:
    """Symbols of G1 and G2, before any inversion, when `bit` is encoded in `state`."""
    newest_first = bit << MEMORY | int(f"{state:0{MEMORY}b}"[::-1], 2)
    return (newest_first & G1).bit_count() & 1, (newest_first & G2).bit_count() & 1


def decision_place(state: int) -> int:
    """Where the decision on a state stands in its row: its bits reversed, so that `step_back`
    halves the row by the newest bit first."""
    return int(f"{state:0{MEMORY}b}"[::-1], 2)


def _kind(metrics: Any) -> tuple[Any, Any, int]:
    """LLVM's type of 32 metrics of an array of them, its zero, and its octets."""
    kind, octets = (WIDE, 2 * LANES) if metrics.dtype.bitwidth == 16 else (VECTOR, LANES)
    return kind, ir.Constant(kind, [0] * LANES), octets


def _at(context: Any, builder: Any, metrics_type: Any, metrics: Any, state: int) -> Any:
    kind, _, octets = _kind(metrics_type)
    fixed = (metrics, ir.Constant(ir.IntType(64), state))
    where = place(context, builder, types.void(metrics_type, types.intp), fixed, octets)
    return builder.bitcast(where, kind.as_pointer())


@intrinsic
def step_forward(
    typing_context: Any,
    old: Any,
    new: Any,
    decisions: Any,
    row: Any,
    cost_00: Any,
    cost_01: Any,
    cost_10: Any,
    cost_11: Any,
) -> Any:
    """Add, compare, select: metrics `old` and `new` are uint8 or int16 [64 · LANES], wrapping.

    cost_00 …: vectors of int8, not negative, what the symbols of G1 and G2 cost.  `row` of
    decisions, uint32 [n, 64], gets at `decision_place(state)` the lanes whose better predecessor is
    the upper one.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def vector(argument: int, index: int) -> Any:
            return _at(context, builder, signature.args[argument], args[argument], index)

        kind, zero, _ = _kind(signature.args[0])
        grown = [builder.sext(cost, kind) if kind is WIDE else cost for cost in args[4:8]]
        costs = dict(zip(((0, 0), (0, 1), (1, 0), (1, 1)), grown, strict=True))
        kinds = types.void(signature.args[2], signature.args[3])
        words = builder.bitcast(
            place(context, builder, kinds, args[2:4], 4 * STATES), WORD.as_pointer()
        )
        for i in range(STATES // 2):
            symbols = branch(i, 0)
            cost, other = costs[symbols], costs[1 - symbols[0], 1 - symbols[1]]
            lower, upper = builder.load(vector(0, i)), builder.load(vector(0, i + STATES // 2))
            lower.align = upper.align = 1
            for state, into_lower, into_upper in ((2 * i, cost, other), (2 * i + 1, other, cost)):
                one, two = builder.add(lower, into_lower), builder.add(upper, into_upper)
                better = builder.icmp_signed("<", builder.sub(two, one), zero)
                builder.store(builder.select(better, two, one), vector(1, state)).align = 1
                word = builder.gep(words, [WORD(decision_place(state))])
                builder.store(builder.bitcast(better, WORD), word)
        return context.get_dummy_value()

    arguments = (old, new, decisions, row, cost_00, cost_01, cost_10, cost_11)
    return types.void(*arguments), generate


@intrinsic
def best_state(typing_context: Any, metrics: Any) -> Any:
    """State of the least of uint8 or int16 [64 · LANES] in each lane, the first of equals."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, zero, _ = _kind(signature.args[0])
        best, index = None, ir.Constant(VECTOR, [0] * LANES)
        for state in range(STATES):
            metric = builder.load(_at(context, builder, signature.args[0], args[0], state))
            metric.align = 1
            if best is None:
                best = metric
                continue
            better = builder.icmp_signed("<", builder.sub(metric, best), zero)
            best = builder.select(better, metric, best)
            index = builder.select(better, ir.Constant(VECTOR, [state] * LANES), index)
        return index

    return LANES_TYPE(metrics), generate


@intrinsic
def step_back(
    typing_context: Any, decisions: Any, row: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any
) -> Any:
    """Decisions of `row` on the state of each lane, uint32; a … f: its bits, the newest in a.

    A choice among the 64 words, bit by bit, by halving them six times.  The decision becomes the
    oldest bit of the state before, which is needed last: the chain from row to row is short.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        width = STATES
        where = place(context, builder, signature, args, 4 * width)
        value = builder.load(builder.bitcast(where, ir.VectorType(WORD, width).as_pointer()))
        value.align = 4
        for argument, kind in zip(args[2:], signature.args[2:], strict=True):
            choice = context.cast(builder, argument, kind, types.uint32)
            width //= 2
            half = ir.VectorType(WORD, width)
            lower, upper = (
                builder.shuffle_vector(
                    value, value, ir.Constant(half, list(range(begin, begin + width)))
                )
                for begin in (0, width)
            )
            one = builder.insert_element(ir.Constant(half, ir.Undefined), choice, WORD(0))
            mask = builder.shuffle_vector(one, one, ir.Constant(half, [0] * width))
            value = builder.xor(lower, builder.and_(builder.xor(lower, upper), mask))
        return builder.extract_element(value, WORD(0))

    return types.uint32(decisions, row, a, b, c, d, e, f), generate
