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

from protocols.coding.lanes import LANES, VECTOR, WORD, ZERO, intrinsic, place

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
    """Add, compare, select: metrics `old` and `new` are uint8 [64 · LANES], wrapping.

    cost_00 …: vectors, what the symbols of G1 and G2 cost.  `row` of decisions, uint32 [n, 64],
    gets at `decision_place(state)` the lanes whose better predecessor is the upper one.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def vector(argument: int, index: int) -> Any:
            fixed = (args[argument], ir.Constant(ir.IntType(64), index))
            kinds = types.void(signature.args[argument], types.intp)
            where = place(context, builder, kinds, fixed, LANES)
            return builder.bitcast(where, VECTOR.as_pointer())

        costs = {(0, 0): args[4], (0, 1): args[5], (1, 0): args[6], (1, 1): args[7]}
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
                better = builder.icmp_signed("<", builder.sub(two, one), ZERO)
                builder.store(builder.select(better, two, one), vector(1, state)).align = 1
                word = builder.gep(words, [WORD(decision_place(state))])
                builder.store(builder.bitcast(better, WORD), word)
        return context.get_dummy_value()

    arguments = (old, new, decisions, row, cost_00, cost_01, cost_10, cost_11)
    return types.void(*arguments), generate


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
