"""The If header over HTTP (RFC 4918 section 10.4): which lists are met, and what their tokens open."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from tests.dav import Dav, awake_user, signed_in
from tests.servers import Server


@dataclass
class Scene:
    """`f` is locked, `g` is not; their tokens and entity tags."""

    dav: Dav
    token: str
    etag: str
    other_etag: str

    def fill(self, header: str) -> str:
        """Return the header with this scene's values in it."""
        values = {"T": self.token, "E": self.etag, "G": self.other_etag, "HERE": self.dav.root}
        for name, value in values.items():
            header = header.replace(f"${name}", value)
        return header.replace("$SERVER", str(self.dav.http.base_url).rstrip("/"))

    def send(self, method: str, name: str, header: str, **headers: str) -> httpx.Response:
        return self.dav.send(method, name, b"new", **headers, **{"if": self.fill(header)})


@pytest.fixture
def scene(folder_server: Server) -> Iterator[Scene]:
    with signed_in(folder_server, awake_user(folder_server)) as dav:
        etags = [dav.send("PUT", name, b"old").headers["etag"] for name in ("f", "g")]
        yield Scene(dav, dav.lock("f"), *etags)


@pytest.mark.parametrize(
    ("header", "status"),
    [
        pytest.param("(<$T>)", 204, id="the token"),
        pytest.param("(<$T> [$E])", 204, id="the token and the etag"),
        pytest.param("(<$T> [$G])", 412, id="the token and another etag"),
        pytest.param("([$G] <$T>) (<$T>)", 204, id="the second list"),
        pytest.param("(<$T> [W/$E])", 412, id="a weak etag is never the same"),
        pytest.param("([$E])", 423, id="met, but without the token"),
        pytest.param("(<$T> Not [$G])", 204, id="not another etag"),
        pytest.param("(Not <$T>)", 412, id="not the token"),
        pytest.param("(<urn:x:unknown>)", 412, id="an unknown token"),
        pytest.param("(<$T> <urn:x:unknown>)", 412, id="the token and an unknown one"),
        pytest.param("(<urn:x:unknown>) (Not <DAV:no-lock>)", 423, id="met by Not, but the wrong token"),
        pytest.param("(<$T>) (Not <DAV:no-lock>)", 204, id="met whatever the token"),
        pytest.param("(<$T>) (<DAV:no-lock>)", 204, id="no-lock is never met, but the first list is"),
        pytest.param("(<DAV:no-lock>)", 412, id="no-lock"),
        pytest.param("<$HEREf> (<$T>)", 204, id="tagged with the path"),
        pytest.param("<$SERVER$HEREf> (<$T>)", 204, id="tagged with the URL"),
        pytest.param("<$HEREg> (<$T>)", 412, id="the token is not that of another resource"),
        pytest.param("<$HEREg> ([$G]) <$HEREf> (<$T>)", 204, id="two resources"),
        pytest.param("<$HEREg> ([$G])", 423, id="about another resource only"),
        pytest.param(
            "<$HEREmissing> ([$G]) (Not [$G]) <$HEREf> (<$T>)", 204, id="a missing resource has no etag"
        ),
        pytest.param("<http://elsewhere.example.org$HEREf> (<$T>)", 412, id="another server's"),
        pytest.param(
            "<http://elsewhere.example.org$HEREf> (Not <$T>) <$HEREf> (<$T>)", 204, id="not elsewhere"
        ),
        pytest.param("<$HEREf> (<$T>) ([$G])", 204, id="several lists of one tag"),
    ],
)
def test_lists_that_are_met_let_a_change_pass_and_tokens_open_locks(
    scene: Scene, header: str, status: int
) -> None:
    assert scene.send("PUT", "f", header).status_code == status
    assert scene.dav.get("f") == (b"new" if status == 204 else b"old")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "()",
        "(<$T>",
        "<$T>",
        "(<$T>),(<$T>)",
        "(Not Not <$T>)",
        "([$E)",
        "<$HEREf>",
        "(<$T>) <$HEREf> (<$T>)",
        "<relative> (<$T>)",
        "<$HERE%2e%2e/f> (<$T>)",
        "garbage",
    ],
)
@pytest.mark.parametrize("method", ["PUT", "GET", "UNLOCK"])
def test_what_does_not_follow_the_grammar_is_refused(scene: Scene, method: str, header: str) -> None:
    assert scene.send(method, "f", header, lock_token=f"<{scene.token}>").status_code == 400
    assert scene.dav.get("f") == b"old"
    assert scene.dav.locks("f") == [scene.token]


def test_a_header_in_two_lines_is_not_read_as_if_the_second_were_not_there(scene: Scene) -> None:
    url = scene.dav.url("f")
    lines = [("if", f"(<{scene.token}>)"), ("if", "(<urn:x:unknown>)")]
    assert scene.dav.http.put(url, content=b"new", headers=lines).status_code == 400
    assert scene.dav.get("f") == b"old"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PROPFIND", "OPTIONS"])
def test_reading_heeds_it_too(scene: Scene, method: str) -> None:
    headers = {"depth": "0"}
    met = scene.dav.send(method, "g", **headers, **{"if": scene.fill("([$G])")})
    unmet = scene.dav.send(method, "g", **headers, **{"if": scene.fill("([$E])")})
    assert met.status_code in (200, 207)
    # What a server can do depends on nothing.
    assert unmet.status_code == (200 if method == "OPTIONS" else 412)


def test_a_move_shows_the_tokens_of_both_its_ends(scene: Scene) -> None:
    dav = scene.dav
    other = dav.lock("g")
    destination = dav.url("g")
    assert scene.send("MOVE", "f", "(<$T>)", destination=destination).status_code == 423
    only_target = f"<$HEREg> (<{other}>)"
    assert scene.send("MOVE", "f", only_target, destination=destination).status_code == 423
    assert (dav.get("f"), dav.get("g")) == (b"old", b"old")
    assert (
        scene.send("MOVE", "f", f"<$HEREf> (<$T>) {only_target}", destination=destination).status_code == 204
    )
    # What was moved onto a locked resource is bound by its lock.
    assert dav.locks("g") == [other]
    dav.put("f")
    assert dav.locks("f") == []
