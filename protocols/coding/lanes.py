"""Vectors of 32 octets for Numba kernels that do the same to 32 codewords or segments at once.

Numba widens uint8 arithmetic to 64 bits, and LLVM's vectoriser does not find saturation, signed
minima or sign masks behind that.  Here each operation is one LLVM instruction on `<32 x i8>`: one
AVX2 register, two of SSE or NEON, whatever the processor has.  A vector lives in registers; arrays
are plain contiguous uint8, int8 or uint32 ones, and a vector is loaded from and stored to 32
consecutive octets of them.  Indices count vectors (of 32 octets), not octets.

`plus` and `minus` wrap; `add` and `subtract` saturate as int8, `add_unsigned` and `excess` as
uint8.
Masks are uint32, bit i for lane i.
"""

# numba and llvmlite ship no types; the code generators are written in their terms.
# pyright: reportMissingTypeStubs=false, reportUntypedFunctionDecorator=false
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false, reportUnknownLambdaType=false
# pyright: reportUntypedBaseClass=false
from __future__ import annotations

from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic as _intrinsic
from numba.extending import models, register_model

LANES: Final = 32

#: Numba gives the decorated function another signature: without the typing context.
intrinsic: Any = _intrinsic

OCTET = ir.IntType(8)
WORD = ir.IntType(32)
VECTOR = ir.VectorType(OCTET, LANES)
WIDE = ir.VectorType(ir.IntType(16), LANES)
_MASK = ir.VectorType(ir.IntType(1), LANES)
ZERO = ir.Constant(VECTOR, [0] * LANES)


class LanesType(types.Type):
    """Numba's name for 32 octets in a register."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


class WideLanesType(types.Type):
    """32 int16 in registers."""

    def __init__(self) -> None:
        super().__init__(name="WideLanes")


LANES_TYPE: Final = LanesType()
WIDE_TYPE: Final = WideLanesType()


@register_model(LanesType)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, frontend_type: Any) -> None:
        super().__init__(manager, frontend_type, VECTOR)


@register_model(WideLanesType)
class _WideModel(models.PrimitiveModel):
    def __init__(self, manager: Any, frontend_type: Any) -> None:
        super().__init__(manager, frontend_type, WIDE)


def place(context: Any, builder: Any, signature: Any, args: Any, octets: int) -> Any:
    """Pointer to vector `args[1]` of array `args[0]`, whatever its items are."""
    array = context.make_array(signature.args[0])(context, builder, args[0])
    index = context.cast(builder, args[1], signature.args[1], types.intp)
    start = builder.bitcast(array.data, OCTET.as_pointer())
    return builder.gep(start, [builder.mul(index, ir.Constant(index.type, octets))])


@intrinsic
def load(typing_context: Any, array: Any, index: Any) -> Any:
    """Vector number `index` of a contiguous array."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        where = place(context, builder, signature, args, LANES)
        value = builder.load(builder.bitcast(where, VECTOR.as_pointer()))
        value.align = 1
        return value

    return LANES_TYPE(array, index), generate


@intrinsic
def store(typing_context: Any, array: Any, index: Any, value: Any) -> Any:
    """Put `value` at vector number `index` of a contiguous array."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        where = place(context, builder, signature, args, LANES)
        builder.store(args[2], builder.bitcast(where, VECTOR.as_pointer())).align = 1
        return context.get_dummy_value()

    return types.void(array, index, value), generate


@intrinsic
def load_wide(typing_context: Any, array: Any, index: Any) -> Any:
    """32 int16: vector number `index` of a contiguous array."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        where = place(context, builder, signature, args, 2 * LANES)
        value = builder.load(builder.bitcast(where, WIDE.as_pointer()))
        value.align = 1
        return value

    return WIDE_TYPE(array, index), generate


@intrinsic
def store_wide(typing_context: Any, array: Any, index: Any, value: Any) -> Any:
    """Put 32 int16 at vector number `index` of a contiguous array."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        where = place(context, builder, signature, args, 2 * LANES)
        builder.store(args[2], builder.bitcast(where, WIDE.as_pointer())).align = 1
        return context.get_dummy_value()

    return types.void(array, index, value), generate


@intrinsic
def widen(typing_context: Any, value: Any) -> Any:
    """int8 lanes as int16."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.sext(args[0], WIDE)

    return WIDE_TYPE(value), generate


@intrinsic
def narrow(typing_context: Any, value: Any) -> Any:
    """int16 lanes as int8, saturated."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(WIDE, [WIDE, WIDE])
        value = args[0]
        for name, bound in (("smin", 127), ("smax", -128)):
            function = cgutils.get_or_insert_function(
                builder.module, kind, f"llvm.{name}.v{LANES}i16"
            )
            value = builder.call(function, [value, ir.Constant(WIDE, [bound] * LANES)])
        return builder.trunc(value, VECTOR)

    return LANES_TYPE(value), generate


@intrinsic
def splat(typing_context: Any, value: Any) -> Any:
    """The low eight bits of an integer, in every lane."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        octet = builder.trunc(context.cast(builder, args[0], signature.args[0], types.int64), OCTET)
        first = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), octet, WORD(0))
        shuffle = ir.Constant(ir.VectorType(WORD, LANES), [0] * LANES)
        return builder.shuffle_vector(first, first, shuffle)

    return LANES_TYPE(value), generate


def _two(operation: Any, meaning: str, kind: Any = LANES_TYPE) -> Any:
    """An intrinsic of two vectors that gives a vector."""

    def typed(typing_context: Any, a: Any, b: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return operation(builder, args[0], args[1])

        return kind(a, b), generate

    typed.__doc__ = meaning
    return intrinsic(typed)


def _llvm(name: str) -> Any:
    def call(builder: Any, a: Any, b: Any) -> Any:
        kind = ir.FunctionType(VECTOR, [VECTOR, VECTOR])
        function = cgutils.get_or_insert_function(builder.module, kind, f"{name}.v{LANES}i8")
        return builder.call(function, [a, b])

    return call


def _interleave(begin: int) -> Any:
    order = [lane // 2 + begin + LANES * (lane % 2) for lane in range(LANES)]
    indices = ir.Constant(ir.VectorType(WORD, LANES), order)
    return lambda builder, a, b: builder.shuffle_vector(a, b, indices)


plus = _two(lambda builder, a, b: builder.add(a, b), "a + b modulo 256.")
minus = _two(lambda builder, a, b: builder.sub(a, b), "a − b modulo 256.")
plus_wide = _two(lambda builder, a, b: builder.add(a, b), "a + b, int16.", WIDE_TYPE)
minus_wide = _two(lambda builder, a, b: builder.sub(a, b), "a − b, int16.", WIDE_TYPE)
add = _two(_llvm("llvm.sadd.sat"), "a + b as int8, saturated.")
subtract = _two(_llvm("llvm.ssub.sat"), "a − b as int8, saturated.")
add_unsigned = _two(_llvm("llvm.uadd.sat"), "a + b as uint8, saturated.")
excess = _two(_llvm("llvm.usub.sat"), "a − b as uint8, 0 where b is greater.")
minimum = _two(_llvm("llvm.umin"), "The lesser as uint8.")
maximum = _two(_llvm("llvm.umax"), "The greater as uint8.")
greater = _two(_llvm("llvm.smax"), "The greater as int8.")
xor = _two(lambda builder, a, b: builder.xor(a, b), "Bits of a or b but not of both.")
both = _two(lambda builder, a, b: builder.and_(a, b), "Bits of a and b.")
low = _two(_interleave(0), "a0 b0 a1 b1 … a15 b15.")
high = _two(_interleave(LANES // 2), "a16 b16 a17 b17 … a31 b31.")


@intrinsic
def magnitude(typing_context: Any, value: Any) -> Any:
    """|value| of int8 lanes, as uint8: that of −128 is 128."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(VECTOR, [VECTOR, ir.IntType(1)])
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.abs.v{LANES}i8")
        return builder.call(function, [args[0], ir.Constant(ir.IntType(1), 0)])

    return LANES_TYPE(value), generate


@intrinsic
def where_negative(typing_context: Any, test: Any, a: Any, b: Any) -> Any:
    """a where `test`, as int8, is below 0, else b."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.icmp_signed("<", args[0], ZERO), args[1], args[2])

    return LANES_TYPE(test, a, b), generate


@intrinsic
def where_equal(typing_context: Any, x: Any, y: Any, a: Any, b: Any) -> Any:
    """a where x = y, else b."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.icmp_signed("==", args[0], args[1]), args[2], args[3])

    return LANES_TYPE(x, y, a, b), generate


@intrinsic
def signs(typing_context: Any, vector: Any) -> Any:
    """Mask of the lanes that, as int8, are below 0."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(builder.icmp_signed("<", args[0], ZERO), WORD)

    return types.uint32(vector), generate


@intrinsic
def spread(typing_context: Any, mask: Any) -> Any:
    """−1 in the lanes of a uint32 mask, 0 in the others."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = context.cast(builder, args[0], signature.args[0], types.uint32)
        return builder.sext(builder.bitcast(word, _MASK), VECTOR)

    return LANES_TYPE(mask), generate


@intrinsic
def count_ones(typing_context: Any, mask: Any) -> Any:
    """Number of lanes in a uint32 mask."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = context.cast(builder, args[0], signature.args[0], types.uint32)
        return builder.zext(builder.ctpop(word), ir.IntType(64))

    return types.int64(mask), generate


@intrinsic
def quarter(typing_context: Any, value: Any) -> Any:
    """uint8 lanes divided by 4, rounded down."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.lshr(args[0], ir.Constant(VECTOR, [2] * LANES))

    return LANES_TYPE(value), generate
