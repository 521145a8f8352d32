"""What generated code says of its loops to LLVM: `masked_loop()` in a loop's body, which becomes metadata of the loop."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import lower_builtin, type_callable

__all__ = ["hint_loops", "masked_loop"]

_MARK = "ingot_masked"


def masked_loop() -> None:
    """Vectorise the loop around this with masks, so that what fills no vector is not computed one by one.

    LLVM then keeps one accumulator only, where it would have several: it is for short loops, and for the ends of others.
    """


@type_callable(masked_loop)  # type: ignore[untyped-decorator]
def _type(context: Any) -> Any:
    return lambda: types.none


@lower_builtin(masked_loop)  # type: ignore[untyped-decorator]
def _lower(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    setattr(builder.block, _MARK, True)
    return context.get_dummy_value()


def hint_loops(module: ir.Module) -> None:
    """Attach the metadata to the branches that end the marked blocks (LLVM Language Reference, `llvm.loop`)."""
    for function in module.functions:
        for block in function.blocks:
            if getattr(block, _MARK, False) and block.terminator is not None:
                wanted = module.add_metadata(["llvm.loop.vectorize.predicate.enable", ir.IntType(1)(1)])
                loop = module.add_metadata([f"loop {function.name} {block.name}"])
                # A node that names itself belongs to one loop only.
                loop.operands = (loop, wanted)
                block.terminator.set_metadata("llvm.loop", loop)
