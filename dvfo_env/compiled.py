"""How the hot functions are compiled.

`_nrt=False` turns off numba's reference counting of arrays inside compiled code: without it every array that
is passed between compiled functions costs two atomic operations a call, which made the step six times slower.
The price: compiled code cannot allocate arrays, so working memory is always passed in. `error_model="numpy"`
drops the check for division by zero at every division.
"""

from __future__ import annotations

from functools import partial

from numba import njit

#: A compiled function, cached on disk.
kernel = partial(njit, cache=True, _nrt=False, error_model="numpy")
#: The same, copied into its callers.
inline_kernel = partial(njit, cache=True, _nrt=False, error_model="numpy", inline="always")
