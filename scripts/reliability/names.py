"""Faults of the store while resources are deleted, copied, moved and made."""

from __future__ import annotations

from typing import Final

from scripts.reliability.exchange import Heard, ask
from scripts.reliability.row import FILE, SMALL, Play, Row, content
from scripts.reliability.scene import Scene
from scripts.reliability.verdict import LATEST, MENDED, Kind, Verdict, refusal
from tests.s3_faults import ALWAYS, Close, Fault, Lost, Refuse, Stall

_PART: Final = "Deleting, moving, copying"
_TARGET: Final = "target.zip"
_COPY: Final = "x-amz-copy-source"


def _answered(heard: Heard, kind: Kind | None) -> Verdict:
    """Judge an answer; `kind` is what the store shows to be wrong with a success, None if nothing is."""
    if not 200 <= heard.status < 300 or heard.status == 207:
        return refusal(heard) if kind is None else Verdict(kind, heard)
    if kind is not None:
        return Verdict(kind, heard)
    return Verdict(Kind.LATE if heard.seconds > LATEST else Kind.KEPT, heard)


def _is_success(heard: Heard) -> bool:
    return 200 <= heard.status < 300 and heard.status != 207


def _destination(scene: Scene, name: str) -> str:
    # rclone overwrites only when it is told to.
    return f"Destination: http://{scene.wire.authority}/{name}\r\nOverwrite: T\r\n"


def _delete(*faults: Fault) -> Play:
    def play(scene: Scene) -> Verdict:
        old = content(1, SMALL)
        scene.store.keep(FILE, old)
        scene.proxy.fail(*faults)
        heard = ask(scene.wire, "DELETE", f"/{FILE}")
        scene.proxy.forgive()
        left = scene.store.read(FILE)
        if _is_success(heard) and left is not None:
            return _answered(heard, Kind.WRONG)
        return _answered(heard, None if left in (None, old) else Kind.CUT)

    return play


def _deletes(*, times: int) -> dict[str, Play]:
    # One may delete a single object by either request.
    return {
        name: _delete(*(make(method) for method in ("DELETE", "POST")))
        for name, make in (
            ("reset", lambda method: Close(method, times=times)),
            ("error", lambda method: Refuse(method, times=times)),
            ("SlowDown", lambda method: Refuse(method, times=times, status=503, code="SlowDown")),
            ("silence", lambda method: Stall(method, times=times)),
            ("lost", lambda method: Lost(method, times=times)),
        )
    }


def _transfer(method: str, *faults: Fault, over: bool) -> Play:
    """Copy or move a file; a source may go only when the target has its content."""

    def play(scene: Scene) -> Verdict:
        source, old = content(1, SMALL), content(2, SMALL + 5) if over else None
        scene.store.keep(FILE, source)
        if old is not None:
            scene.store.keep(_TARGET, old)
        scene.proxy.fail(*faults)
        heard = ask(scene.wire, method, f"/{FILE}", None, _destination(scene, _TARGET))
        scene.proxy.forgive()
        left, made = scene.store.read(FILE), scene.store.read(_TARGET)
        return _answered(heard, _damage(method, heard, source, old, left, made))

    return play


def _damage(
    method: str, heard: Heard, source: bytes, old: bytes | None, left: bytes | None, made: bytes | None
) -> Kind | None:
    if left not in (None, source) or made not in (None, source, old):
        return Kind.MIXED
    if (left is None and (made != source or method == "COPY")) or (old is not None and made is None):
        return Kind.LOST
    if _is_success(heard) and (made != source or (method == "MOVE" and left is not None)):
        return Kind.WRONG
    return None


def _transfers(method: str, *, times: int) -> dict[str, Play]:
    faults: dict[str, Fault] = {
        "no fault": Fault(),
        "copy reset": Close("PUT", header=_COPY, times=times),
        "copy error": Refuse("PUT", header=_COPY, times=times),
        "copy SlowDown": Refuse("PUT", header=_COPY, times=times, status=503, code="SlowDown"),
        "copy error inside 200": Refuse("PUT", header=_COPY, times=times, inside=True),
        "copy silence": Stall("PUT", header=_COPY, times=times),
        "copy lost": Lost("PUT", header=_COPY, times=times),
    }
    if method == "MOVE":
        faults |= {
            "delete reset": Close("DELETE", times=times),
            "delete error": Refuse("DELETE", times=times),
            "delete silence": Stall("DELETE", times=times),
            "delete lost": Lost("DELETE", times=times),
        }
    return {
        f"{name}, {'over another' if over else 'new'}": _transfer(method, fault, over=over)
        for name, fault in faults.items()
        for over in (False, True)
    }


def _move_collection(*faults: Fault) -> Play:
    """Move a collection of five files over one of three, of which one name is in both."""

    def play(scene: Scene) -> Verdict:
        source = {f"{number}.zip": content(number, SMALL) for number in range(5)}
        old = {f"{number}.zip": content(10 + number, SMALL) for number in (4, 5, 6)}
        for collection, files in (("source", source), ("target", old)):
            for name, body in files.items():
                scene.store.keep(f"{collection}/{name}", body)
        scene.proxy.fail(*faults)
        heard = ask(scene.wire, "MOVE", "/source/", None, _destination(scene, "target/"))
        scene.proxy.forgive()
        for name, body in source.items():
            found = [scene.store.read(f"{collection}/{name}") for collection in ("source", "target")]
            if body not in found:
                return _answered(heard, Kind.LOST)
        if _is_success(heard):
            gone = [name for name in source if scene.store.read(f"target/{name}") != source[name]]
            return _answered(heard, Kind.WRONG if gone else None)
        lost = [name for name in old if name not in source and scene.store.read(f"target/{name}") is None]
        return _answered(heard, Kind.LOST if lost else None)

    return play


def _mkcol(*faults: Fault) -> Play:
    """Make a collection; it must still be there when the server has been started anew."""

    def play(scene: Scene) -> Verdict:
        scene.proxy.fail(*faults)
        heard = ask(scene.wire, "MKCOL", "/made/")
        scene.proxy.forgive()
        if not _is_success(heard):
            return _answered(heard, None)
        scene.runner.kill()
        scene.runner.restart()
        found = ask(scene.wire, "PROPFIND", "/made/", None, "Depth: 0\r\n")
        return _answered(heard, None if found.status == 207 else Kind.LOST)

    return play


ROWS: Final = (
    Row(
        part=_PART,
        fault="DELETE: reset, 500, SlowDown, silence, a success whose answer is lost; once",
        promise="asked again: 204",
        tests=("test_only_what_may_pass_is_tried_again",),
        accepts=MENDED,
        plays=_deletes(times=1),
    ),
    Row(
        part=_PART,
        fault="DELETE: the same without end",
        promise="503 within 12 s; the file is there or not, whole",
        tests=("test_every_method_tells_when_to_come_again",),
        plays=_deletes(times=ALWAYS),
    ),
    Row(
        part=_PART,
        fault="MOVE and COPY of a file: the store's copy or deletion fails once",
        promise="asked again: 201 or 204",
        tests=("test_whatever_the_store_does_the_answer_is_true",),
        accepts=MENDED,
        plays={
            f"{method} {name}": play
            for method in ("MOVE", "COPY")
            for name, play in _transfers(method, times=1).items()
        },
    ),
    Row(
        part=_PART,
        fault="MOVE and COPY of a file: it fails without end",
        promise="an error within 12 s; neither source nor target is lost",
        tests=("test_where_everything_failed_that_is_the_answer",),
        plays={
            f"{method} {name}": play
            for method in ("MOVE", "COPY")
            for name, play in _transfers(method, times=ALWAYS).items()
        },
    ),
    Row(
        part=_PART,
        fault="MOVE of a collection over another: one copy, or all deletions, fail without end",
        promise="what failed is named and stays; what only the target had stays",
        tests=("test_members_that_could_not_be_copied_are_named_and_stay_as_they_were",),
        plays={
            "copy": _move_collection(Refuse("PUT", header=_COPY, skip=2, times=ALWAYS)),
            "copies": _move_collection(Refuse("PUT", header=_COPY, times=ALWAYS)),
            "deletions": _move_collection(
                Refuse("DELETE", times=ALWAYS), Refuse("POST", query="delete", times=ALWAYS)
            ),
        },
    ),
    Row(
        part=_PART,
        fault="MKCOL: reset, 500, a success whose answer is lost, once; then a new start of the server",
        promise="201, and the collection is there",
        tests=("test_a_collection_whose_making_was_not_heard_of_is_made",),
        accepts=MENDED,
        plays={
            "no fault": _mkcol(),
            "reset": _mkcol(Close("PUT")),
            "error": _mkcol(Refuse("PUT")),
            "lost": _mkcol(Lost("PUT")),
        },
    ),
)
