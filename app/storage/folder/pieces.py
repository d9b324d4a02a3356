"""Writing what has been gathered of a body into a file, in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from typing import Final

_AT_ONCE: Final = 1024


def write_all(file: int, block: Sequence[bytes]) -> int:
    """Write all of `block` where the file is, and return how many bytes those were. Blocks; OSError."""
    pieces = deque(memoryview(piece) for piece in block if piece)
    total = 0
    while pieces:
        written = os.writev(file, [pieces[i] for i in range(min(len(pieces), _AT_ONCE))])
        total += written
        while pieces and written >= len(pieces[0]):
            written -= len(pieces.popleft())
        if written:
            pieces[0] = pieces[0][written:]
    return total
