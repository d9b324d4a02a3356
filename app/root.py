"""One user's root as the methods use it: the storage, and what the journal keeps beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from app.journal.journal import Journal
from app.journal.locks import Locks
from app.journal.no_records import NoRecords
from app.journal.properties import Properties
from app.storage.base import Storage


@dataclass(frozen=True, slots=True)
class Root:
    storage: Storage
    locks: Locks
    properties: Properties

    @classmethod
    def of(cls, storage: Storage) -> Self:
        """Return the root of a storage; one without records has neither locks nor dead properties."""
        journal = Journal(storage.records or NoRecords())
        return cls(storage, Locks(journal), Properties(journal))
