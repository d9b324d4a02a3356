"""Faults of the store while a file is read."""

from __future__ import annotations

from typing import Final

from scripts.reliability.row import FILE, LARGE, SMALL, Play, Row, at, content, get
from scripts.reliability.scene import Scene
from scripts.reliability.verdict import MENDED, Verdict, of_download
from tests.s3_faults import ALWAYS, Close, Cut, Fault, Meanwhile, Pause, Refuse, Stall

_PART: Final = "Reading a file"
_FIRST, _LAST = 1000, LARGE - 1000
_FORMS: Final = {"small": SMALL, "large": LARGE, "range of a large": LARGE}


def _headers(form: str) -> str:
    return f"Range: bytes={_FIRST}-{_LAST}\r\n" if form.startswith("range") else ""


def _wanted(form: str, whole: bytes) -> bytes:
    return whole[_FIRST : _LAST + 1] if form.startswith("range") else whole


def _download(form: str, *faults: Fault) -> Play:
    def play(scene: Scene) -> Verdict:
        whole = content(1, _FORMS[form])
        scene.store.keep(FILE, whole)
        scene.proxy.fail(*at(scene, FILE, *faults))
        return of_download(get(scene, headers=_headers(form)), _wanted(form, whole))

    return play


def _downloads(**faults: tuple[Fault, ...]) -> dict[str, Play]:
    return {
        f"{form}, {name.replace('_', ' ')}": _download(form, *rules)
        for form in _FORMS
        for name, rules in faults.items()
    }


def _overwritten_within(form: str, size: int) -> Play:
    def play(scene: Scene) -> Verdict:
        old, new = content(1, _FORMS[form]), content(2, size)
        scene.store.keep(FILE, old)
        scene.proxy.fail(
            *at(
                scene,
                FILE,
                Cut("GET", size=_FORMS[form] // 2),
                Meanwhile("GET", what=lambda: scene.store.keep(FILE, new)),
            )
        )
        heard = get(scene, headers=_headers(form))
        return of_download(heard, _wanted(form, old), _wanted(form, new))

    return play


def _overwritten_between(old_size: int, size: int) -> Play:
    def play(scene: Scene) -> Verdict:
        old, new = content(1, old_size), content(2, size)
        scene.store.keep(FILE, old)
        first = of_download(get(scene), old)
        scene.store.keep(FILE, new)
        return of_download(get(scene), new) if first.kind in MENDED else first

    return play


ROWS: Final = (
    Row(
        part=_PART,
        fault="The connection breaks before the answer, or the answer is 500 or 503 SlowDown",
        promise="asked again, unnoticed",
        tests=("test_only_what_may_pass_is_tried_again",),
        accepts=MENDED,
        plays=_downloads(
            no_fault=(),
            reset=(Close("GET"),),
            error=(Refuse("GET"),),
            SlowDown=(Refuse("GET", status=503, code="SlowDown", times=2),),
        ),
    ),
    Row(
        part=_PART,
        fault="The connection breaks within the body",
        promise="gone on with at the next byte, unnoticed",
        tests=("test_an_answer_that_breaks_off_is_taken_up_at_the_next_byte",),
        accepts=MENDED,
        plays=_downloads(
            at_the_first_byte=(Cut("GET", size=0),),
            midway=(Cut("GET", size=SMALL // 2),),
            before_the_last_byte=(Cut("GET", size=SMALL - 1),),
        )
        | {
            "large, late": _download("large", Cut("GET", size=LARGE - 1)),
            "large, every 2 MiB": _download("large", Cut("GET", size=2**21, times=ALWAYS)),
        },
    ),
    Row(
        part=_PART,
        fault="The store falls silent before the answer, or within the body",
        promise="left after 5 s and asked again, unnoticed",
        tests=("test_a_store_that_falls_silent_within_a_body_is_left_and_asked_again",),
        accepts=MENDED,
        plays=_downloads(before=(Stall("GET"),), within=(Pause("GET", size=SMALL // 2),)),
    ),
    Row(
        part=_PART,
        fault="Any of these without end",
        promise="503 within 12 s, or a broken connection once the body has begun",
        tests=(
            "test_a_download_that_cannot_go_on_is_broken_off",
            "test_a_small_download_that_cannot_go_on_is_an_honest_refusal",
        ),
        plays=_downloads(
            reset=(Close("GET", times=ALWAYS),),
            error=(Refuse("GET", times=ALWAYS),),
            SlowDown=(Refuse("GET", status=503, code="SlowDown", times=ALWAYS),),
            silence=(Stall("GET", times=ALWAYS),),
            gone_midway=(Cut("GET", size=SMALL // 2), Close("GET", times=ALWAYS)),
            silent_midway=(Pause("GET", size=SMALL // 2), Stall("GET", times=ALWAYS)),
        ),
    ),
    Row(
        part=_PART,
        fault="The connection breaks within the body, and the file is overwritten before it is taken up",
        promise="a broken connection, never a mix of both",
        tests=("test_what_changes_while_it_is_read_is_never_mixed",),
        plays={
            f"{form}, {name}": _overwritten_within(form, _FORMS[form] + more)
            for form in _FORMS
            for name, more in (("as long", 0), ("longer", 5000), ("shorter", -5000))
        },
    ),
    Row(
        part=_PART,
        fault="The file was read once and is overwritten in the bucket, not through the server",
        promise="the new content at once, whole",
        tests=("test_a_file_that_was_overwritten_in_the_bucket_is_served_whole",),
        accepts=MENDED,
        plays={
            f"{form}, {name}": _overwritten_between(size, size + more)
            for form, size in (("small", SMALL), ("large", LARGE))
            for name, more in (("as long", 0), ("longer", 5000), ("shorter", -5000))
        },
    ),
)
