"""What is known of a collection from the requests that were made and the answers that came."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from tests.model.reading import agrees, has_failed_members
from tests.model.remnants import remnants
from tests.model.requests import Answer, Request
from tests.model.rules import outcomes
from tests.model.world import File, Node, Path, World

_REMEMBERED = 60
_OF_TREES = ("DELETE", "COPY", "MOVE")


class PromiseBroken(AssertionError):
    """An answer that the server must not give, after all that it has said before."""


class Judge:
    """Holds all worlds that may be; one, unless an answer was lost and nothing has settled since what it was.

    With `faults` the server may fail (5xx) and break connections; without, each of that is a defect.
    """

    def __init__(self, *, faults: bool = False) -> None:
        self.faults = faults
        self.forget()

    def forget(self) -> None:
        """Begin with an empty collection."""
        self.worlds: frozenset[World] = frozenset({World()})
        self.unsure = False
        """Whether an answer to a change was ever lost: what was under way may hinder locks for a minute."""
        self.etags: dict[Path, set[str]] = {}
        self._history: deque[str] = deque(maxlen=_REMEMBERED)

    def heard(self, request: Request, answer: Answer | None) -> None:
        """Take in an answer, None when there was none that is whole. Raises PromiseBroken."""
        self._history.append(f"{request}  ->  {answer or 'broken'}")
        if answer is None or answer.status >= 500:
            if not self.faults:
                raise self.accusation("a failure without a cause")
            if not request.is_read:
                self._lose_track(request)
        elif not self._waits_in_vain(request, answer):
            self._judge(request, answer)

    def _waits_in_vain(self, request: Request, answer: Answer) -> bool:
        """Tell whether a lock is perhaps refused for a write only of which nobody knows that it is over."""
        return self.faults and request.method == "LOCK" and answer.status == 423

    def _judge(self, request: Request, answer: Answer) -> None:
        if (
            self.faults
            and answer.status == 207
            and request.method in _OF_TREES
            and has_failed_members(answer.body)
        ):
            self._lose_track(request)
            return
        possible = self._possible(request, answer) or self._unknown_creator(request, answer)
        if possible:
            self._know(possible)
            self._note_etags()
        else:
            raise self.accusation("an answer that cannot be")

    def _possible(self, request: Request, answer: Answer) -> set[World]:
        found = set()
        for world in self.worlds:
            for outcome in outcomes(world, request):
                if outcome.status == answer.status:
                    after = agrees(outcome.after, request, answer)
                    if after is not None:
                        found.add(after)
        return found

    def _unknown_creator(self, request: Request, answer: Answer) -> set[World]:
        """Return the worlds in which a PUT may be told that it created what was already there.

        Where the store's answer to the creation is lost, and the second try is refused since there is
        something, of the same content, the server cannot know whether that is its own.
        """
        if not self.faults or request.method != "PUT" or answer.status != 201:
            return set()
        found = set()
        for world in self.worlds:
            node = world.get(request.path)
            if isinstance(node, File) and node.content == request.content:
                after = agrees(world, request, answer)
                if after is not None:
                    found.add(after)
        return found

    def _lose_track(self, request: Request) -> None:
        self.unsure = True
        self._know({after for world in self.worlds for after in remnants(world, request)})

    def _know(self, worlds: Iterable[World]) -> None:
        self.worlds = frozenset(worlds)

    def _note_etags(self) -> None:
        for world in self.worlds:
            for path, node in world.nodes.items():
                if isinstance(node, File) and node.etag is not None:
                    self.etags.setdefault(path, set()).add(node.etag)

    def accusation(self, what: str) -> PromiseBroken:
        worlds = "\n".join(_told(world) for world in list(self.worlds)[:5])
        history = "\n  ".join(self._history)
        known = f"until then there were {len(self.worlds)} possible worlds:\n{worlds}"
        return PromiseBroken(f"{what}; {known}\nhistory:\n  {history}")


def _told(world: World) -> str:
    nodes = ", ".join(f"{'/'.join(path)}: {_one(node)}" for path, node in sorted(world.nodes.items()))
    locks = [(lock.path, lock.deep, lock.exclusive, lock.token) for lock in world.locks]
    return f"  {nodes}; locks {locks}"


def _one(node: Node) -> str:
    if not isinstance(node, File):
        return "collection"
    return f"{len(node.content)} bytes {node.content[:8].hex()} {node.etag}"
