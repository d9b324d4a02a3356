"""Faults of the store while a file is stored."""

from __future__ import annotations

import time
from typing import Final

from scripts.reliability.exchange import Heard, ask
from scripts.reliability.row import FILE, LARGE, SMALL, Play, Row, at, content, get
from scripts.reliability.scene import Scene
from scripts.reliability.verdict import HONEST, MENDED, Kind, Verdict, of_download, of_upload
from tests.s3_faults import ALWAYS, Close, Early, Fault, Hang, Lost, Refuse, Stall

_PART: Final = "Storing a file"
_SETTLED: Final = 5.0
"""Seconds within which a server has tidied up behind an upload."""
_OLD_SIZE: Final = 30_000


def stored(scene: Scene, heard: Heard, old: bytes | None, new: bytes) -> Verdict:
    """Judge an upload by what the store has, what the server then shows, and what is left over."""
    verdict = of_upload(heard, scene.store.read(FILE), old, new)
    if verdict.kind not in HONEST:
        return verdict
    # An uploaded part may still be on its way when its upload is aborted.
    deadline = time.monotonic() + _SETTLED
    while scene.store.leftovers():
        if time.monotonic() > deadline:
            return Verdict(Kind.LEFTOVER, heard)
        time.sleep(0.2)
    return _shown(scene, heard, verdict)


def _shown(scene: Scene, heard: Heard, verdict: Verdict) -> Verdict:
    kept = scene.store.read(FILE)
    seen = get(scene)
    if kept is None:
        # There is nothing that it could be wrong about.
        return verdict if not 200 <= seen.status < 300 else Verdict(Kind.WRONG, heard)
    shown = of_download(seen, kept)
    return verdict if shown.kind is Kind.KEPT else shown


def _upload(size: int, *faults: Fault, over: bool) -> Play:
    def play(scene: Scene) -> Verdict:
        old, new = content(1, _OLD_SIZE) if over else None, content(2, size)
        if old is not None:
            scene.store.keep(FILE, old)
        scene.proxy.fail(*at(scene, FILE, *faults))
        heard = ask(scene.wire, "PUT", f"/{FILE}", new)
        scene.proxy.forgive()
        return stored(scene, heard, old, new)

    return play


def _uploads(size: int, **faults: Fault | tuple[Fault, ...]) -> dict[str, Play]:
    return {
        f"{name.replace('_', ' ')}, {'over another' if over else 'new'}": _upload(
            size, *(rules if isinstance(rules, tuple) else (rules,)), over=over
        )
        for name, rules in faults.items()
        for over in (False, True)
    }


_SLOW_DOWN: Final = {"status": 503, "code": "SlowDown"}

ROWS: Final = (
    Row(
        part=_PART,
        fault="A small file: reset before, within and after the body, 500, SlowDown (also before the body is"
        " read), silence before and within the body, a success whose answer is lost",
        promise="sent again until confirmed: 201 or 204",
        tests=(
            "test_what_failed_for_a_moment_is_sent_again_byte_for_byte",
            "test_a_lost_answer_to_a_new_file_ends_in_success",
            "test_a_lost_answer_to_a_replacement_ends_in_success",
        ),
        accepts=MENDED,
        plays=_uploads(
            SMALL,
            no_fault=(),
            before=Close("PUT"),
            within=Close("PUT", size=1000),
            after=Close("PUT", size=SMALL),
            error=Refuse("PUT"),
            SlowDown=Refuse("PUT", times=2, status=503, code="SlowDown"),
            SlowDown_at_once=Early("PUT", status=503, code="SlowDown"),
            silence=Stall("PUT"),
            silence_within=Hang("PUT", size=1000),
            lost=Lost("PUT"),
        ),
    ),
    Row(
        part=_PART,
        fault="A large file: the same at one of its parts",
        promise="that part is sent again: 201 or 204, nothing left over",
        tests=("test_what_failed_for_a_moment_is_sent_again_byte_for_byte",),
        accepts=MENDED,
        plays=_uploads(
            LARGE,
            no_fault=(),
            before=Close("PUT", query="partNumber", skip=1),
            within=Close("PUT", query="partNumber", skip=1, size=100_000),
            error=Refuse("PUT", query="partNumber", skip=1),
            SlowDown=Refuse("PUT", query="partNumber", skip=1, times=2, status=503, code="SlowDown"),
            SlowDown_at_once=Early("PUT", query="partNumber", skip=1, status=503, code="SlowDown"),
            silence=Stall("PUT", query="partNumber", skip=1),
            silence_within=Hang("PUT", query="partNumber", skip=1, size=100_000),
            lost=Lost("PUT", query="partNumber", skip=1),
        ),
    ),
    Row(
        part=_PART,
        fault="A large file: the same at the beginning of its upload, or at its completion",
        promise="asked again, or looked up whether it was done: 201 or 204",
        tests=("test_what_failed_for_a_moment_is_sent_again_byte_for_byte",),
        accepts=MENDED,
        plays=_uploads(
            LARGE,
            begin_reset=Close("POST", query="uploads"),
            begin_error=Refuse("POST", query="uploads"),
            begin_silence=Stall("POST", query="uploads"),
            complete_reset=Close("POST", query="uploadId"),
            complete_error=Refuse("POST", query="uploadId"),
            complete_error_inside_200=Refuse("POST", query="uploadId", inside=True),
            complete_silence=Stall("POST", query="uploadId"),
            complete_lost=Lost("POST", query="uploadId"),
            complete_lost_in_silence=Lost("POST", query="uploadId", stalls=True),
        ),
    ),
    Row(
        part=_PART,
        fault="Any of these without end, at a small or a large file",
        promise="503 within 12 s of the last byte; old or new content, nothing left over",
        tests=(
            "test_whatever_the_store_does_the_answer_is_true",
            "test_a_store_that_fails_leaves_what_was_there",
        ),
        plays=_uploads(
            SMALL,
            reset=Close("PUT", times=ALWAYS),
            error=Refuse("PUT", times=ALWAYS),
            SlowDown=Refuse("PUT", times=ALWAYS, status=503, code="SlowDown"),
            silence=Stall("PUT", times=ALWAYS),
            lost=Lost("PUT", times=ALWAYS),
        )
        | _uploads(
            LARGE,
            begin_error=Refuse("POST", query="uploads", times=ALWAYS),
            part_reset=Close("PUT", query="partNumber", skip=1, times=ALWAYS),
            part_error=Refuse("PUT", query="partNumber", skip=1, times=ALWAYS),
            part_SlowDown=Refuse(
                "PUT", query="partNumber", skip=1, times=ALWAYS, status=503, code="SlowDown"
            ),
            part_silence=Stall("PUT", query="partNumber", skip=1, times=ALWAYS),
            complete_error=Refuse("POST", query="uploadId", times=ALWAYS),
            complete_reset=Close("POST", query="uploadId", times=ALWAYS),
            complete_silence=Stall("POST", query="uploadId", times=ALWAYS),
            complete_lost=Lost("POST", query="uploadId", times=ALWAYS),
        ),
    ),
)
