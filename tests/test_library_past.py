"""What is told from versions alone, and what happens to a pair that is brought back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.library.past import NotThen, read_past
from app.library.restore import restore
from app.path import DavPath
from app.storage.base import StorageError, Unavailable
from app.storage.folder import FolderStorages
from app.storage.history import Version
from tests.past import FIRST, SECOND

ZOTERO = DavPath(("zotero",), slash=True)

# A sync within one second: the prop deleted, the zip stored, the prop stored; and all of it once more later.
SYNCS = """
10 zip stored
10 prop stored
20 prop deleted
20 zip stored
20 prop stored
30 prop stored
40 prop deleted
40 zip deleted
"""

CONTENTS = {"zip-10": FIRST.zip, "prop-10": FIRST.prop, "zip-20": SECOND.zip, "prop-20": SECOND.prop}


class FakeHistory:
    """Versions as the lines say; `broken` cannot be brought back."""

    def __init__(self, lines: str, broken: str = "") -> None:
        self.broken = broken
        self.restored: list[str] = []
        self._versions: list[Version] = []
        for line in reversed(lines.split("\n")):
            if line:
                second, part, what = line.split()
                self._versions.append(self._version(int(second), part, what))

    def _version(self, second: int, part: str, what: str) -> Version:
        path, name = ZOTERO.child(f"ABCD2345.{part}"), f"{part}-{second}"
        is_first = all(one.path != path for one in self._versions)
        size = len(CONTENTS.get(name, b"?"))
        if what == "deleted":
            return Version(path, f"d-{name}", second, 0, "", is_deletion=True, is_current=is_first)
        return Version(path, name, second, size, f'"{name}"', is_deletion=False, is_current=is_first)

    async def why_not(self) -> str:
        return ""

    async def versions(self, collection: DavPath, beginning: str = "") -> AsyncIterator[Version]:
        for version in self._versions:
            yield version

    async def read(self, version: Version, start: int, stop: int) -> AsyncIterator[bytes]:
        yield CONTENTS[version.id][start:stop]

    async def bring_back(self, version: Version) -> None:
        if version.id == self.broken:
            raise Unavailable(version.path, "the store is away")
        self.restored.append(version.id)


async def test_what_was_written_in_one_sync_is_one_pair() -> None:
    past = await read_past(FakeHistory(SYNCS), ZOTERO, "ABCD2345")
    assert past is not None
    pairs = {version.id: past.generation(part, version) for part, version in past.events()}
    stored = {name: pair for name, pair in pairs.items() if not name.startswith("d-")}
    assert stored == {"zip-10": 1, "prop-10": 1, "zip-20": 2, "prop-20": 2, "prop-30": 2}


@pytest.mark.parametrize(
    ("second", "wanted"),
    [
        pytest.param(9, None, id="before"),
        pytest.param(10, ("zip-10", "prop-10"), id="first"),
        pytest.param(19, ("zip-10", "prop-10"), id="until the next"),
        pytest.param(20, ("zip-20", "prop-20"), id="second"),
        pytest.param(35, ("zip-20", "prop-30"), id="a new prop alone"),
        pytest.param(40, None, id="deleted"),
    ],
)
async def test_a_moment_is_the_newest_that_was_there_at_its_end(
    second: int, wanted: tuple[str, str] | None
) -> None:
    past = await read_past(FakeHistory(SYNCS), ZOTERO, "ABCD2345")
    assert past is not None
    if wanted is None:
        with pytest.raises(NotThen):
            past.at(second)
        return
    found = past.at(second).wanted
    assert {part: version and version.id for part, version in found.items()} == dict(
        zip(("zip", "prop"), wanted, strict=True)
    )


@pytest.mark.parametrize(
    ("broken", "restored", "failed"),
    [
        pytest.param("", ["zip-10", "prop-10"], 0, id="the zip before the prop"),
        pytest.param("zip-10", [], 1, id="no prop without its zip"),
        pytest.param("prop-10", ["zip-10"], 1, id="the prop fails"),
    ],
)
async def test_a_zip_comes_back_before_its_prop(
    tmp_path: Path, broken: str, restored: list[str], failed: int
) -> None:
    history = FakeHistory(SYNCS, broken)
    past = await read_past(history, ZOTERO, "ABCD2345")
    assert past is not None
    storages = FolderStorages(str(tmp_path))
    try:
        outcome = await restore(storages.for_user(""), history, ZOTERO, [past.at(10)])
    except StorageError as error:
        pytest.fail(f"a failure of one is no end of all: {error}")
    finally:
        await storages.aclose()
    assert history.restored == restored
    assert len(outcome.failed) == failed
