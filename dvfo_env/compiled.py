"""How the hot functions are compiled.

`_nrt=False` turns off numba's reference counting of arrays inside compiled code: without it every array that
is passed between compiled functions costs two atomic operations a call, which made the step six times slower.
The price: compiled code cannot allocate arrays, so working memory is always passed in. `error_model="numpy"`
drops the check for division by zero at every division.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

#: A compiled function, cached on disk.
kernel = partial(njit, cache=True, _nrt=False, error_model="numpy")
#: The same, copied into its callers.
inline_kernel = partial(njit, cache=True, _nrt=False, error_model="numpy", inline="always")


@intrinsic  # type: ignore[untyped-decorator]
def prefetch(_typing: Any, array: Any, place: Any) -> Any:
    """Ask the memory for element `place`, a tuple with one integer an axis of `array`, which is read soon."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array_type, place_type = signature.args
        values = make_array(array_type)(context, builder, arguments[0])
        places = [
            context.cast(builder, index, kind, types.intp)
            for index, kind in zip(
                cgutils.unpack_tuple(builder, arguments[1], place_type.count), place_type.types, strict=True
            )
        ]
        element = cgutils.get_item_pointer(context, builder, array_type, values, places, wraparound=False)
        pointer = builder.bitcast(element, cgutils.voidptr_t)
        flag = cgutils.int32_t
        asked = ir.FunctionType(ir.VoidType(), (cgutils.voidptr_t, flag, flag, flag))
        function = cgutils.get_or_insert_function(builder.module, asked, "llvm.prefetch.p0")
        builder.call(function, (pointer, flag(0), flag(3), flag(1)))  # read, keep, data
        return context.get_dummy_value()

    return types.void(array, place), code
