"""Primitives that take more than a few instructions: the remainder of floats, and digits of 1 / (2 pi)."""

from typing import Any

from llvmlite import ir

__all__ = ["INVERSE_TURN", "float_remainder", "inverse_turn_word", "is_near_quotient", "near_remainder"]

_I64 = ir.IntType(64)

# 1 / (2 pi) in binary behind 53 zero bits, 64 bits a word: enough for the largest float64.
INVERSE_TURN = (
    0x0000000000000145,
    0xF306DC9C882A53F8,
    0x4EAFA3EA69BB81B6,
    0xC52B3278872083FC,
    0xA2C757BD778AC36E,
    0x48DC74849BA5C00C,
    0x925DD413A32439FC,
    0x3BD63962534E7DD1,
    0x046BEA5D768909D3,
    0x38E04D68BEFC8273,
    0x23AC7306A673E939,
    0x08BF177BF250763F,
    0xF12FFFBC0B301FDE,
    0x5E2316B414DA3EDA,
    0x6CFD9E4F96136E9E,
    0x8C7ECD3CBFD45AEA,
    0x4F758FD7CBE2F67A,
    0x0E73EF14A525D4D7,
    0xF6BF623F1ABA10AC,
    0x06608DF8F6D757E1,
)


def inverse_turn_word(builder: Any, index: Any) -> Any:
    """A word of the table, which becomes a constant of the module."""
    name = "ingot.inverse_turn"
    kind = ir.ArrayType(_I64, len(INVERSE_TURN))
    table = builder.module.globals.get(name)
    if table is None:
        table = ir.GlobalVariable(builder.module, kind, name)
        table.linkage = "private"
        table.global_constant = True
        table.initializer = ir.Constant(kind, [ir.Constant(_I64, word) for word in INVERSE_TURN])
    return builder.load(builder.gep(table, [ir.Constant(_I64, 0), index], inbounds=True))


def near_remainder(builder: Any, a: Any, b: Any) -> Any:
    """C's fmod by one division, where the quotient q has few digits, for then |a| - q |b| is exact.

    The rounded quotient is the right one or, just below an integer, the next one. `is_near_quotient` says where.
    """
    kind = a.type
    x, y = (_unary(builder, "llvm.fabs", v) for v in (a, b))
    whole = _unary(builder, "llvm.trunc", builder.fdiv(x, y))
    if kind == ir.DoubleType():
        fma = builder.module.declare_intrinsic("llvm.fma", [kind], ir.FunctionType(kind, [kind] * 3))
        rest = builder.call(fma, [builder.fneg(whole), y, x])
    else:
        # As exact by two instructions, on processors without fused ones, too.
        wide = [builder.fpext(v, ir.DoubleType()) for v in (x, whole, y)]
        rest = builder.fptrunc(builder.fsub(wide[0], builder.fmul(wide[1], wide[2])), kind)
    rest = builder.select(builder.fcmp_ordered("<", rest, kind(0)), builder.fadd(rest, y), rest)
    sign = builder.module.declare_intrinsic("llvm.copysign", [kind], ir.FunctionType(kind, [kind] * 2))
    return builder.call(sign, [rest, a])


def is_near_quotient(builder: Any, a: Any, b: Any) -> Any:
    """Whether `near_remainder` is right: never where a number is infinite or NaN, or b is 0."""
    kind = a.type
    x, y = (_unary(builder, "llvm.fabs", v) for v in (a, b))
    # Quotients of at most one digit less than the dtype has: they are off by less than 1.
    most = builder.fmul(y, kind(2.0**52 if kind == ir.DoubleType() else 2.0**23))
    few = builder.fcmp_ordered("<", x, most)
    return builder.and_(few, builder.fcmp_ordered("<", y, kind(float("inf"))))


def _unary(builder: Any, name: str, value: Any) -> Any:
    function = builder.module.declare_intrinsic(name, [value.type], ir.FunctionType(value.type, [value.type]))
    return builder.call(function, [value])


def float_remainder(builder: Any, a: Any, b: Any) -> Any:
    """C's fmod: one division where that is right; else the C library."""
    with builder.if_else(is_near_quotient(builder, a, b), likely=True) as (short, long):
        with short:
            near = near_remainder(builder, a, b)
            at_near = builder.block
        with long:
            # As a call: LLVM would compute the instruction `frem` for all elements, and choose afterwards.
            name = "fmod" if a.type == ir.DoubleType() else "fmodf"
            called = builder.module.globals.get(name)
            if called is None:
                called = ir.Function(builder.module, ir.FunctionType(a.type, [a.type] * 2), name)
            far = builder.call(called, [a, b])
            at_far = builder.block
    result = builder.phi(a.type)
    result.add_incoming(near, at_near)
    result.add_incoming(far, at_far)
    return result
