"""What may come in as a path, and what it means."""

import pytest

from app.path import MAX_PATH_BYTES, BadPath, DavPath, as_written, is_nameable


@pytest.mark.parametrize(
    ("raw", "segments", "slash"),
    [
        pytest.param(b"/", (), True, id="the root"),
        pytest.param(b"", (), False, id="nothing at all is the root"),
        pytest.param(b"/a", ("a",), False, id="a name"),
        pytest.param(b"/a/", ("a",), True, id="a trailing slash"),
        pytest.param(b"//a///b//", ("a", "b"), True, id="doubled slashes count as one"),
        pytest.param(b"/a%20b", ("a b",), False, id="a blank"),
        pytest.param(b"/a%2520b", ("a%20b",), False, id="decoded once"),
        pytest.param(b"/100%25.txt", ("100%.txt",), False, id="a percent sign"),
        pytest.param(b"/a+b&c=d;e", ("a+b&c=d;e",), False, id="a plus is a plus"),
        pytest.param(b"/%3F%23%22%3C%3E", ('?#"<>',), False, id="what URLs and HTML are afraid of"),
        pytest.param(b"/%F0%9F%93%9A", ("\U0001f4da",), False, id="beyond the BMP"),
        pytest.param(b"/e%CC%81", ("e\u0301",), False, id="NFD stays NFD"),
        pytest.param(b"/%C3%A9", ("\xe9",), False, id="NFC stays NFC"),
        pytest.param(b"/\xc3\xa9", ("\xe9",), False, id="UTF-8 that was not encoded"),
        pytest.param(b"/...", ("...",), False, id="three dots are a name"),
        pytest.param(b"/" + b"x" * 255, ("x" * 255,), False, id="255 bytes"),
    ],
)
def test_a_path_is_decoded_once_segment_by_segment(
    raw: bytes, segments: tuple[str, ...], slash: bool
) -> None:
    path = DavPath.parse(raw)
    assert (path.segments, path.slash) == (segments, slash)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"/..", id="dot dot"),
        pytest.param(b"/a/../b", id="dot dot within"),
        pytest.param(b"/.", id="dot"),
        pytest.param(b"/%2e%2e/x", id="dot dot encoded"),
        pytest.param(b"/.%2E/x", id="dot dot half encoded"),
        pytest.param(b"/a%2Fb", id="an encoded slash"),
        pytest.param(b"/a%5Cb", id="an encoded backslash"),
        pytest.param(b"/a\\b", id="a backslash"),
        pytest.param(b"/a%00b", id="NUL"),
        pytest.param(b"/a%0Ab", id="a newline"),
        pytest.param(b"/a%7Fb", id="DEL"),
        pytest.param(b"/a%C2%85b", id="a C1 control"),
        pytest.param(b"/a%E2%80%A8b", id="a line separator"),
        pytest.param(b"/%FF", id="not UTF-8"),
        pytest.param(b"/%ED%A0%80", id="a surrogate"),
        pytest.param(b"/%C0%AE%C0%AE", id="dot dot, overlong UTF-8"),
        pytest.param(b"/%", id="a lone percent sign"),
        pytest.param(b"/%2", id="half an escape"),
        pytest.param(b"/%zz", id="no hexadecimal digits"),
        pytest.param(b"/%+1", id="what int() would take for hexadecimal"),
        pytest.param(b"/" + b"x" * 256, id="256 bytes"),
        pytest.param(b"/" + b"%C3%A9" * 128, id="256 bytes after decoding"),
        pytest.param(b"/x" * (MAX_PATH_BYTES // 2 + 1), id="too long in all"),
        pytest.param(b"*", id="no slash in front"),
    ],
)
def test_what_could_lead_astray_is_refused(raw: bytes) -> None:
    with pytest.raises(BadPath):
        DavPath.parse(raw)


@pytest.mark.parametrize(
    "name", ["a b", "100%", "a%20b", "#?&+;=@", "\u00e9", "e\u0301", "\U0001f4da", "it's", "~(1)*!$,", "a:b"]
)
def test_an_href_decodes_to_the_name_it_was_made_of(name: str) -> None:
    path = DavPath(("lib", name), slash=True)
    again = DavPath.parse(path.href().encode("ascii"))
    assert again == path
    assert again.slash


@pytest.mark.parametrize(
    ("raw", "written"),
    [
        pytest.param(b"//zotero//x", "//zotero//x", id="doubled slashes stay"),
        pytest.param(b"/%7Ezot/%2d", "/%7Ezot/%2d", id="spellings of escapes stay"),
        pytest.param(b"/a&b;c='d'", "/a&b;c='d'", id="what a URI may hold stays"),
        pytest.param(b'/"<>^`{|}', "/%22%3C%3E%5E%60%7B%7C%7D", id="what no URI may hold is encoded"),
        pytest.param(b"/\xc3\xa9", "/%C3%A9", id="raw UTF-8 is encoded"),
    ],
)
def test_a_path_is_echoed_as_the_client_wrote_it(raw: bytes, written: str) -> None:
    assert as_written(raw) == written


def test_a_path_contains_what_lies_below_it_and_not_what_only_begins_alike() -> None:
    path = DavPath(("a",))
    assert path.contains(DavPath(("a", "b")))
    assert not path.contains(DavPath(("ab",)))
    assert not path.contains(path)
    assert DavPath().contains(path)


@pytest.mark.parametrize(
    ("raw", "surely"),
    [
        (b"/zotero/ABCD2345.zip", True),
        (b"/zotero/ABCD2345.prop", True),
        (b"/zotero/ABCD2345.zip/", False),
        (b"/zotero/ABCD2345.ZIP", False),
        (b"/zotero", False),
        (b"/", False),
    ],
)
def test_only_the_names_of_zoteros_hot_path_are_taken_for_files_unasked(raw: bytes, surely: bool) -> None:
    assert DavPath.parse(raw).is_surely_file is surely


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\nb", "x" * 256, "\udcff"])
def test_names_that_no_url_can_name(name: str) -> None:
    assert not is_nameable(name)
