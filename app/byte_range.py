"""A range of a file's bytes, as it is asked for and as it is found."""

from __future__ import annotations

from typing import NamedTuple


class ByteRange(NamedTuple):
    """A single range as asked for (RFC 9110 section 14.1.2): `first` None means the last `last` bytes."""

    first: int | None
    last: int | None
    """The last byte, included; None means to the end."""

    def resolve(self, size: int) -> tuple[int, int] | None:
        """Return (start, stop), stop excluded, within a file of `size` bytes; None if unsatisfiable."""
        if self.first is None:
            return (max(size - self.last, 0), size) if self.last and size else None
        if self.first >= size:
            return None
        return self.first, size if self.last is None else min(self.last + 1, size)
