"""One record of the journal, and its name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, Self

from app.journal.state import Change, State
from app.path import RESERVED, DavPath
from app.storage.base import Unavailable

FOLDER: Final = "journal"
SNAPSHOT_EVERY: Final = 64

_DIGITS: Final = 16


def name_of(number: int) -> str:
    return f"{FOLDER}/{number:0{_DIGITS}d}"


def number_of(name: str) -> int | None:
    """Return the number in a record's name, None if it is no record of the journal."""
    digits = name.rpartition("/")[2]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) == _DIGITS else None


def holds_state(number: int) -> bool:
    """Tell whether the record of this number holds the whole state, not only a change of it."""
    return number % SNAPSHOT_EVERY == 1


@dataclass(frozen=True, slots=True)
class Record:
    """Changes of state, made together; `after` is the nonce of the record they were built upon."""

    number: int
    nonce: str
    after: str
    at: float
    """The store's time at which the changes were decided; the state they were decided on was known then."""
    changes: list[Change]
    state: dict[str, Any] | None = None
    """What `State.dump` said before the changes, in every 64th record."""

    def encode(self) -> bytes:
        content = {"nonce": self.nonce, "after": self.after, "at": self.at, "changes": self.changes}
        if self.state is not None:
            content["state"] = self.state
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, number: int, content: bytes) -> Self:
        """Raises Unavailable for what is no record."""
        try:
            found = json.loads(content)
            return cls(
                number,
                str(found["nonce"]),
                str(found["after"]),
                float(found["at"]),
                list(found["changes"]),
                found["state"] if holds_state(number) else None,
            )
        except (ValueError, LookupError, TypeError) as error:
            raise damaged(number) from error

    def apply_to(self, state: State) -> None:
        """Raises Unavailable, `state` then being of no use any more."""
        try:
            for change in self.changes:
                state.apply(change, self.at)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise damaged(self.number) from error

    def load(self) -> State:
        """Return the whole state that the record holds, its own changes not yet made."""
        try:
            return State.load(self.state or {})
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise damaged(self.number) from error


def damaged(number: int) -> Unavailable:
    return Unavailable(
        DavPath((RESERVED,)),
        f"the record {RESERVED}/{name_of(number)} is damaged, or was written by a newer version",
    )
