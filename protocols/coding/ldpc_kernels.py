"""Compiled inner loops of the LDPC decoder: 32 codewords side by side in lanes.

Layered belief propagation (Hocevar 2004): checks one after another, each on what those before have
already improved.  The sum-product rule is followed with its logarithms to the nearest quarter;
normalised min-sum, which leaves them out, was tried and loses 0.1 dB on these codes, as their
punctured variables begin with nothing.
"""

# numba ships no types: the docstrings say here what the arguments are.
# pyright: reportMissingTypeStubs=false, reportUntypedFunctionDecorator=false
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba import njit

from protocols.coding.lanes import (
    LANES,
    add_unsigned,
    excess,
    load,
    load_wide,
    magnitude,
    maximum,
    minimum,
    minus,
    minus_wide,
    narrow,
    plus,
    plus_wide,
    quarter,
    signs,
    splat,
    spread,
    store,
    store_wide,
    where_negative,
    widen,
    xor,
)
from protocols.coding.soft_symbols import mean_magnitude, quantise, turn

U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
F32 = npt.NDArray[np.float32]

#: Soft symbols, beliefs and messages are log-likelihood ratios in quarters.
#: Belief in what is known.
GREATEST: Final = 127
#: Greatest soft symbol.
LIMIT: Final = 63
#: Greatest message of a check.
LOUDEST: Final = 127
#: Where log(1 + exp(−x)) is taken for 0.
REACH: Final = 12


@njit(cache=True)
def _fill(
    symbols: F32, which: I64, mean: float, lead: int, sent: int, rows: Any, beliefs: Any, spare: Any
) -> Any:
    """Beliefs int16 [variables, LANES] of the codewords `which`, before any check was heard.

    The mask of those that are not all zero: silence would satisfy every check.
    """
    rows[:] = 0
    heard = np.uint32(0)
    for lane in range(len(which)):
        part = symbols[which[lane], :sent]
        unscaled = mean_magnitude(part)
        if unscaled > 0:
            heard |= np.uint32(1) << np.uint32(lane)
            rows[lane, :lead] = GREATEST
            quantise(part, mean / unscaled, LIMIT, rows[lane, lead:])
    width = rows.shape[1] // LANES
    block = np.empty(LANES * LANES, np.int8)
    for at in range(width):
        for lane in range(LANES):
            store(block, lane, load(rows, lane * width + at))
        turn(block, spare)
        for i in range(LANES):
            store_wide(beliefs, at * LANES + i, widen(load(spare, i)))
    return heard


@njit(cache=True, inline="always")
def _less_sure(distance: Any, reach: Any) -> Any:
    """log(1 + exp(−distance)): 3, 2, 1 or 0 quarters, to the nearest quarter but one."""
    return quarter(excess(reach, distance))


@njit(cache=True, inline="always")
def _both(a: Any, b: Any, reach: Any) -> Any:
    """How sure the sum of two bits is, of one of which we are sure by a, of the other by b.

    min(a, b) − log(1 + exp(−|a − b|)) + log(1 + exp(−(a + b))), exactly; but never quite nothing
    while both say something, or punctured variables stay at nothing for ever.
    """
    least, most = minimum(a, b), maximum(a, b)
    loss = minus(_less_sure(minus(most, least), reach), _less_sure(add_unsigned(a, b), reach))
    return maximum(excess(least, loss), minimum(least, splat(1)))


@njit(cache=True, inline="always")
def _tell(
    beliefs: Any, messages: Any, variable: Any, edge: Any, belief: Any, sign: Any, sure: Any
) -> None:
    """A check says to a variable, of which it heard `belief`, what the others make of it."""
    zero = splat(0)
    says = where_negative(xor(sign, narrow(belief)), minus(zero, sure), sure)
    store(messages, edge, says)
    store_wide(beliefs, variable, plus_wide(belief, widen(says)))


@njit(cache=True)
def _iterate(
    beliefs: Any, messages: Any, starts: I32, variables: I32, heard: Any, forward: Any
) -> None:
    """All checks once.

    beliefs: int16 [variables, LANES], so wide that nothing is lost when a message is taken back.
    messages: int8 [edges, LANES], what each check said to its variable.
    starts: int32 [checks + 1] into variables, int32 [edges].  heard: int16, forward: int8
    [≥ greatest degree, LANES].
    """
    reach, loudest = splat(REACH), splat(LOUDEST)
    for check in range(len(starts) - 1):
        begin = starts[check]
        last = starts[check + 1] - begin - 1
        # What each variable believes without what this check said.
        belief = minus_wide(load_wide(beliefs, variables[begin]), widen(load(messages, begin)))
        store_wide(heard, 0, belief)
        short = narrow(belief)
        sign = short
        sure = minimum(magnitude(short), loudest)
        store(forward, 0, sure)
        for i in range(1, last):
            edge = begin + i
            belief = minus_wide(load_wide(beliefs, variables[edge]), widen(load(messages, edge)))
            store_wide(heard, i, belief)
            short = narrow(belief)
            sign = xor(sign, short)
            sure = _both(sure, magnitude(short), reach)
            store(forward, i, sure)
        edge = begin + last
        belief = minus_wide(load_wide(beliefs, variables[edge]), widen(load(messages, edge)))
        short = narrow(belief)
        sign = xor(sign, short)
        _tell(beliefs, messages, variables[edge], edge, belief, sign, sure)
        sure = minimum(magnitude(short), loudest)
        for i in range(last - 1, 0, -1):
            edge = begin + i
            belief = load_wide(heard, i)
            others = _both(sure, load(forward, i - 1), reach)
            _tell(beliefs, messages, variables[edge], edge, belief, sign, others)
            sure = _both(sure, magnitude(narrow(belief)), reach)
        _tell(beliefs, messages, variables[begin], begin, load_wide(heard, 0), sign, sure)


@njit(cache=True)
def _unsatisfied(beliefs: Any, starts: I32, variables: I32, waiting: Any) -> Any:
    """Mask of the lanes of `waiting` that some check contradicts."""
    wrong = np.uint32(0)
    for check in range(len(starts) - 1):
        parity = splat(0)
        for edge in range(starts[check], starts[check + 1]):
            parity = xor(parity, narrow(load_wide(beliefs, variables[edge])))
        wrong |= signs(parity) & waiting
        if wrong == waiting:
            break
    return wrong


@njit(cache=True)
def decode(
    symbols: F32,
    which: I64,
    mean: float,
    lead: int,
    sent: int,
    total: int,
    information: int,
    starts: I32,
    variables: I32,
    limit: int,
    data: U8,
    iterations: Any,
) -> None:
    """Decode the codewords `which` of symbols, float32 [n, ≥ sent].

    lead: variables known to be 0, before the `sent` ones; the rest, up to `total`, are punctured.
    mean: magnitude of the symbols after scaling.  data: uint8 [n, information / 8];
    iterations: int16 [n], −limit where some check is still contradicted after that many.
    """
    width = (total + LANES - 1) // LANES
    rows = np.empty((LANES, width * LANES), np.int8)
    beliefs = np.empty((width * LANES, LANES), np.int16)
    messages = np.empty((len(variables), LANES), np.int8)
    spare = np.empty(LANES * LANES, np.int8)
    most = 0
    for check in range(len(starts) - 1):
        most = max(most, starts[check + 1] - starts[check])
    heard, forward = np.empty((most, LANES), np.int16), np.empty((most, LANES), np.int8)
    bits = np.empty(information, np.uint32)
    octets = np.empty(LANES, np.uint8)
    for first in range(0, len(which), LANES):
        group = which[first : first + LANES]
        waiting = _fill(symbols, group, mean, lead, sent, rows, beliefs, spare)
        messages[:] = 0
        bits[:] = 0
        for lane in range(len(group)):
            iterations[group[lane]] = -limit
        for iteration in range(1, limit + 1):
            _iterate(beliefs, messages, starts, variables, heard, forward)
            wrong = _unsatisfied(beliefs, starts, variables, waiting)
            done = waiting & ~wrong
            if iteration == limit:
                done = waiting
            if done:
                for i in range(information):
                    bits[i] = (bits[i] & ~done) | (
                        signs(narrow(load_wide(beliefs, lead + i))) & done
                    )
            for lane in range(len(group)):
                mine = np.uint32(1) << np.uint32(lane)
                if (waiting & ~wrong) & mine:
                    iterations[group[lane]] = iteration
            waiting = wrong
            if waiting == 0:
                break
        for octet in range(information // 8):
            packed = splat(0)
            for i in range(8 * octet, 8 * octet + 8):
                packed = minus(plus(packed, packed), spread(bits[i]))
            store(octets, 0, packed)
            for lane in range(len(group)):
                data[group[lane], octet] = octets[lane]
