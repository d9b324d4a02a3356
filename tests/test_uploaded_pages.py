"""What users have uploaded cannot act in the server's origin, whatever it is."""

from __future__ import annotations

from urllib.parse import quote

import httpx
import pytest

DOWNLOAD, SHOWN = True, False


@pytest.mark.parametrize(
    ("name", "download", "sandboxed"),
    [
        pytest.param("page.html", DOWNLOAD, True, id="html"),
        pytest.param("page.HTM", DOWNLOAD, True, id="html-in-capitals"),
        pytest.param("page.xhtml", DOWNLOAD, True, id="xhtml"),
        pytest.param("picture.svg", DOWNLOAD, True, id="svg"),
        pytest.param("data.xml", DOWNLOAD, True, id="xml"),
        pytest.param("KEY.prop", DOWNLOAD, True, id="prop"),
        pytest.param("script.js", DOWNLOAD, True, id="script"),
        pytest.param("page.mhtml", DOWNLOAD, True, id="mhtml"),
        pytest.param("file.swf", DOWNLOAD, True, id="flash"),
        pytest.param("none", DOWNLOAD, True, id="no-type"),
        pytest.param("KEY.zip", DOWNLOAD, True, id="zip"),
        pytest.param("a.pdf", SHOWN, False, id="pdf"),
        pytest.param("a.png", SHOWN, True, id="png"),
        pytest.param("a.jpg", SHOWN, True, id="jpeg"),
        pytest.param("a.mp4", SHOWN, True, id="film"),
        pytest.param("a.txt", SHOWN, True, id="text"),
    ],
)
@pytest.mark.parametrize("server", ["folder"], indirect=True)
def test_what_could_act_is_a_download_and_the_rest_is_shown_in_an_origin_of_its_own(
    client: httpx.Client, name: str, download: bool, sandboxed: bool
) -> None:
    client.put(f"/{name}", content=b"x")
    for method in ("GET", "HEAD"):
        headers = client.request(method, f"/{name}").headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        policy = headers.get("content-security-policy", "").split("; ")
        # Neither scripts nor our origin are given back, and nothing may be fetched from anywhere.
        assert ({"sandbox", "default-src 'none'"} <= set(policy)) == sandboxed
        assert headers.get("content-disposition") == (f'attachment; filename="{name}"' if download else None)


@pytest.mark.parametrize(
    ("name", "disposition"),
    [
        pytest.param("a b.zip", "attachment; filename*=UTF-8''a%20b.zip", id="blank"),
        pytest.param('a"b;c.zip', "attachment; filename*=UTF-8''a%22b%3Bc.zip", id="quote-and-semicolon"),
        pytest.param("é€.zip", "attachment; filename*=UTF-8''%C3%A9%E2%82%AC.zip", id="beyond-ascii"),
        pytest.param("100%.zip", "attachment; filename*=UTF-8''100%25.zip", id="percent"),
        pytest.param(
            "a'(*)@=,.zip", "attachment; filename*=UTF-8''a%27%28%2A%29%40%3D%2C.zip", id="not-attr"
        ),
        pytest.param("a!#$&+^`|~.zip", "attachment; filename*=UTF-8''a!#$&+^`|~.zip", id="attr"),
    ],
)
@pytest.mark.parametrize("server", ["folder"], indirect=True)
def test_a_download_has_its_name_whatever_is_in_it(client: httpx.Client, name: str, disposition: str) -> None:
    target = {"target": f"/{quote(name)}".encode()}
    client.request("PUT", "/", content=b"x", extensions=target)
    answer = client.request("GET", "/", extensions=target)
    assert answer.headers["content-disposition"] == disposition


def test_ranges_and_large_files_are_no_way_around(client: httpx.Client) -> None:
    client.put("/page.html", content=b"x" * 300_000)
    whole = client.get("/page.html")
    part = client.get("/page.html", headers={"Range": "bytes=0-99"})
    assert (whole.status_code, part.status_code) == (200, 206)
    for answer in (whole, part):
        assert answer.headers["content-security-policy"].startswith("sandbox;")
        assert answer.headers["content-disposition"] == 'attachment; filename="page.html"'


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/missing<script>.zip", 404),
        ("GET", "/%00", 400),
        ("PROPFIND", "/", 207),
        ("GET", "/", 200),
        ("PROPFIND", "/infinity/", 403),
    ],
)
@pytest.mark.parametrize("server", ["folder"], indirect=True)
def test_no_answer_is_taken_for_another_type_than_it_says(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    client.request("MKCOL", "/infinity/")
    depth = "infinity" if "infinity" in path else "0"
    answer = client.request(method, "/", headers={"Depth": depth}, extensions={"target": path.encode()})
    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "<script" not in answer.text
