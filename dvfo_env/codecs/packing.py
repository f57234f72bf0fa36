"""Indices below 2**bits, packed without gaps or to whole symbols a byte, and back, by shifts on words."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Bits -> (symbols a group, bytes a group): the smallest group that ends on a byte.
GROUPS = {8: (1, 1), 6: (4, 3), 4: (2, 1), 3: (8, 3), 2: (4, 1)}
#: Bits -> bits of a symbol's field where no symbol may straddle bytes: for coders that work by bytes.
ALIGNED = {8: 8, 6: 8, 4: 4, 3: 4, 2: 2}

#: Bits -> type of the word that a group's symbols fill, one a byte, before they are pushed together.
_WORDS = {6: "<u4", 4: "<u2", 3: "<u8", 2: "<u4"}


def _folds(bits: int) -> list[tuple[int, np.unsignedinteger[Any], np.unsignedinteger[Any]]]:
    """Steps that push a word's symbols together: (shift, mask of every second field, mask of the others).

    A step joins pairs of fields: the first of each stays, the other moves down by the shift, next to it.
    """
    word = np.dtype(_WORDS[bits])
    field, lane, steps = bits, 8, []
    while lane < 8 * word.itemsize:
        stay = sum(((1 << field) - 1) << at for at in range(0, 8 * word.itemsize, 2 * lane))
        steps.append((lane - field, word.type(stay), word.type(stay << lane)))
        field, lane = 2 * field, 2 * lane
    return steps


_FOLDS = {bits: _folds(bits) for bits in _WORDS}


def packed_bytes(symbols: int, bits: int) -> int:
    """Length of so many packed symbols, in bytes; the last byte is padded with zero bits."""
    return (symbols * bits + 7) // 8


def pack(symbols: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Symbols uint8 [n], each below 2**bits, as uint8 [ceil(n * bits / 8)]: the first in the lowest bits.

    Symbol i takes bits i * bits ... of the little-endian bit string.
    """
    if bits == 8:
        return symbols
    group, width = GROUPS[bits]
    n = symbols.size
    if n % group:
        symbols = np.concatenate((symbols, np.zeros(-n % group, np.uint8)))
    words = symbols.view(_WORDS[bits])
    for shift, stay, move in _FOLDS[bits]:
        words = (words & stay) | ((words & move) >> shift)
    if width == 1:
        return words.astype(np.uint8)[: packed_bytes(n, bits)]
    low = words.astype(_WORDS[bits], copy=False).view(np.uint8).reshape(-1, words.itemsize)[:, :width]
    return np.ascontiguousarray(low).reshape(-1)[: packed_bytes(n, bits)]


def unpack(packed: NDArray[np.uint8], bits: int, symbols: int) -> NDArray[np.uint8]:
    """The inverse of `pack`: uint8 [symbols]; `packed` has `packed_bytes(symbols, bits)` bytes."""
    if bits == 8:
        return packed
    group, width = GROUPS[bits]
    dtype = _WORDS[bits]
    groups = -(-symbols // group)
    if packed.size < groups * width:
        packed = np.concatenate((packed, np.zeros(groups * width - packed.size, np.uint8)))
    if width == 1:
        words = packed.astype(dtype)
    else:
        padded = np.zeros((groups, np.dtype(dtype).itemsize), np.uint8)
        padded[:, :width] = packed.reshape(groups, width)
        words = padded.reshape(-1).view(dtype)
    for shift, stay, move in reversed(_FOLDS[bits]):
        words = (words & stay) | ((words << shift) & move)
    return words.astype(dtype, copy=False).view(np.uint8)[:symbols]
