from __future__ import annotations

import pytest

from app.library.names import Name, is_key, is_passed_over, parse_name
from app.library.prop import BadProp, Prop, make_prop, parse_prop

MD5 = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("ABCD2345.zip", Name("ABCD2345", "zip")),
        ("ZZZZ9999.prop", Name("ZZZZ9999", "prop")),
        ("ABCD234O.zip", None),
        ("ABCD2340.zip", None),
        ("ABCD2341.zip", None),
        ("abcd2345.zip", None),
        ("ABCD234.zip", None),
        ("ABCD23456.zip", None),
        ("ABCD2345.ZIP", None),
        ("ABCD2345.zip\n", None),
        ("ABCD2345", None),
    ],
)
def test_names_of_attachments_are_told_from_others(name: str, found: Name | None) -> None:
    assert parse_name(name) == found
    assert is_key(name.partition(".")[0]) or found is None


@pytest.mark.parametrize("name", ["lastsync", "lastsync.txt", ".DS_Store", "zotero-test-file.prop"])
def test_what_clients_leave_behind_is_nothing_to_wonder_at(name: str) -> None:
    assert is_passed_over(name)
    assert not is_passed_over("notes.txt")


@pytest.mark.parametrize(
    ("content", "prop"),
    [
        pytest.param(make_prop(1700000000123, MD5), Prop(1700000000123, MD5), id="as written today"),
        pytest.param(
            b'<?xml version="1.0"?>\n<properties version="1">\n <mtime>1</mtime> <hash>'
            + MD5.upper().encode()
            + b"</hash></properties>",
            Prop(1, MD5),
            id="with spaces and large digits",
        ),
        pytest.param(
            b'<properties version="1"><mtime>0</mtime><hash></hash></properties>', Prop(0, None), id="zeros"
        ),
        pytest.param(b"1230768000\n", Prop(1230768000000, None), id="very old: seconds only"),
    ],
)
def test_props_of_all_ages_are_read(content: bytes, prop: Prop) -> None:
    assert parse_prop(content) == prop


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b" \n", "empty", id="blank"),
        pytest.param(b"<!DOCTYPE html><html>404</html>", "HTML", id="HTML"),
        pytest.param(b"<html><body>no</body></html>", "HTML", id="HTML without a type"),
        pytest.param(b"Not found", "not XML", id="text"),
        pytest.param(b"<properties><mtime>1</mtime>", "not XML", id="cut short"),
        pytest.param(b'<!DOCTYPE p [<!ENTITY a "b">]><properties>&a;</properties>', "not XML", id="entity"),
        pytest.param(b"<error><mtime>1</mtime></error>", "no prop", id="other XML"),
        pytest.param(b"<properties><hash>x</hash></properties>", "no mtime", id="no mtime"),
        pytest.param(b"<properties><mtime>-1</mtime></properties>", "no mtime", id="negative"),
        pytest.param(b"<properties><mtime>1</mtime><hash>x</hash></properties>", "no MD5", id="no MD5"),
        pytest.param(b"\xff\xfe<\0", "not XML", id="bytes"),
    ],
)
def test_what_is_no_prop_says_what_it_is(content: bytes, reason: str) -> None:
    with pytest.raises(BadProp, match=reason):
        parse_prop(content)
