"""PROPPATCH and dead properties over HTTP (RFC 4918 sections 4, 9.1 and 9.2)."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import fromstring

import pytest

from tests.dav import D, Dav, awake_user, canonical, members, signed_in
from tests.servers import Server

LANG = "{http://www.w3.org/XML/1998/namespace}lang"


@pytest.fixture
def dav(server: Server) -> Iterator[Dav]:
    with signed_in(server, awake_user(server)) as dav:
        yield dav


@pytest.fixture
def folder_dav(folder_server: Server) -> Iterator[Dav]:
    """Where the storage makes no difference."""
    with signed_in(folder_server, awake_user(folder_server)) as dav:
        yield dav


def setting(*props: str) -> str:
    return f"<D:set><D:prop>{''.join(props)}</D:prop></D:set>"


def removing(*props: str) -> str:
    return f"<D:remove><D:prop>{''.join(props)}</D:prop></D:remove>"


@pytest.mark.parametrize(
    "prop",
    [
        pytest.param('<p xmlns="x:">text</p>', id="text"),
        pytest.param('<p xmlns="x:"/>', id="empty"),
        pytest.param("<p>text</p>", id="no namespace"),
        pytest.param('<p xmlns="DAV:">text</p>', id="a name of DAV: that is none of its properties"),
        pytest.param('<x:p xmlns:x="urn:x:ü?a=b&amp;c"><x:q/></x:p>', id="an odd namespace"),
        pytest.param('<p xmlns="x:">a &lt;b&gt; &amp; "c" \'d\' ]]&gt;</p>', id="what XML escapes"),
        pytest.param('<p xmlns="x:"><![CDATA[a <b> & c]]></p>', id="CDATA"),
        pytest.param('<p xmlns="x:">\U0001f511 \U0010fffd ÄäÖö \u0085\u2028</p>', id="beyond the BMP"),
        pytest.param('<p xmlns="x:">e\u0301 \u00e9</p>', id="not normalised"),
        pytest.param('<p xmlns="x:">\n  a\n\n\tb  \n</p>', id="newlines, tabs and blanks"),
        pytest.param('<p xmlns="x:">a&#13;b&#13;&#10;c</p>', id="carriage returns"),
        pytest.param('<p xmlns="x:" q="a&#10;&#9;&#13;&quot;&lt;b"/>', id="odd characters in an attribute"),
        pytest.param(
            '<p xmlns="x:" xmlns:y="y:" y:a="1" a="2">one <y:q>two<r xmlns=""/></y:q> three <q/>\n</p>',
            id="mixed content of many namespaces",
        ),
        pytest.param('<p xmlns="x:" xml:lang="de-CH">Strasse</p>', id="a language"),
        pytest.param('<p xmlns="x:" xml:lang="de"><q xml:lang="">x</q></p>', id="languages in it"),
        pytest.param("<%s xmlns='x:'>text</%s>" % (("Größe_名前-1.2",) * 2), id="a name of many letters"),
        pytest.param(f'<p xmlns="x:">{"long " * 12000}</p>', id="60,000 characters"),
    ],
)
def test_a_property_comes_back_as_it_was_set(folder_dav: Dav, prop: str) -> None:
    folder_dav.put("f")
    expected = fromstring(f'<w xmlns:D="DAV:">{prop}</w>')[0]
    (changed,) = members(folder_dav.proppatch("f", setting(prop)))
    assert {name: status for name, (status, _) in changed.props.items()} == {expected.tag: 200}
    assert all(len(element) == 0 and not element.text for _, element in changed.props.values())
    empty = f'<q:{expected.tag.rpartition("}")[2]} xmlns:q="{expected.tag[1:].partition("}")[0]}"/>'
    if not expected.tag.startswith("{"):
        empty = f"<{expected.tag}/>"
    named = folder_dav.props("f", empty.replace("&", "&amp;"))
    assert named.xml(expected.tag) == canonical(expected)
    assert folder_dav.props("f").xml(expected.tag) == canonical(expected)


@pytest.mark.parametrize(
    ("body", "language"),
    [
        pytest.param('<D:set><D:prop xml:lang="de"><p xmlns="x:"/></D:prop></D:set>', "de", id="prop's"),
        pytest.param('<D:set xml:lang="de"><D:prop><p xmlns="x:"/></D:prop></D:set>', "de", id="set's"),
        pytest.param('<D:set><D:prop><p xmlns="x:"/></D:prop></D:set>', "fr", id="the whole body's"),
        pytest.param(
            '<D:set xml:lang="de"><D:prop xml:lang="en"><p xmlns="x:"/></D:prop></D:set>',
            "en",
            id="the nearest",
        ),
        pytest.param(
            '<D:set><D:prop xml:lang="de"><p xml:lang="it" xmlns="x:"/></D:prop></D:set>', "it", id="its own"
        ),
    ],
)
def test_the_language_in_scope_belongs_to_a_property(
    folder_dav: Dav, body: str, language: str | None
) -> None:
    folder_dav.put("f")
    folder_dav.proppatch("f", body, root='xml:lang="fr"')
    assert folder_dav.props("f", '<p xmlns="x:"/>').props["{x:}p"][1].get(LANG) == language


@pytest.mark.parametrize(
    ("instructions", "expected"),
    [
        pytest.param(setting('<p xmlns="x:">1</p>') + removing('<p xmlns="x:"/>'), None, id="set, remove"),
        pytest.param(removing('<p xmlns="x:"/>') + setting('<p xmlns="x:">1</p>'), "1", id="remove, set"),
        pytest.param(setting('<p xmlns="x:">1</p>') + setting('<p xmlns="x:">2</p>'), "2", id="set twice"),
        pytest.param(setting('<p xmlns="x:">1</p>', '<p xmlns="x:">2</p>'), "2", id="twice in one"),
        pytest.param(removing('<p xmlns="x:"/>', '<never xmlns="x:"/>'), None, id="remove"),
        pytest.param(
            "<other xmlns='y:'/>" + setting('<q xmlns="x:"/>'), "0", id="what nobody knows is ignored"
        ),
    ],
)
def test_instructions_are_followed_in_order(folder_dav: Dav, instructions: str, expected: str | None) -> None:
    folder_dav.put("f")
    folder_dav.set_prop("f", "0")
    (changed,) = members(folder_dav.proppatch("f", instructions))
    assert {status for status, _ in changed.props.values()} == {200}
    assert folder_dav.prop("f") == expected


@pytest.mark.parametrize(
    "live", ["getetag", "getcontentlength", "resourcetype", "lockdiscovery", "creationdate"]
)
@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
def test_nothing_is_changed_where_a_property_is_protected(folder_dav: Dav, live: str, first: bool) -> None:
    folder_dav.put("f")
    folder_dav.set_prop("f", "old", "kept")
    protected = setting(f"<D:{live}>x</D:{live}>")
    others = setting('<p xmlns="x:">new</p>') + removing('<kept xmlns="x:"/>')
    answer = folder_dav.proppatch("f", protected + others if first else others + protected)
    (refused,) = members(answer)
    assert {name: status for name, (status, _) in refused.props.items()} == {
        f"{D}{live}": 403,
        "{x:}p": 424,
        "{x:}kept": 424,
    }
    assert refused.error == f"{D}cannot-modify-protected-property"
    assert (folder_dav.prop("f"), folder_dav.prop("f", "kept")) == (None, "old")


def test_the_name_to_display_may_be_chosen(folder_dav: Dav) -> None:
    folder_dav.put("f")
    assert folder_dav.props("f").text(f"{D}displayname") == "f"
    folder_dav.proppatch("f", setting("<D:displayname>A &amp; B</D:displayname>"))
    for prop in ("", "<D:displayname/>"):
        assert folder_dav.props("f", prop).text(f"{D}displayname") == "A & B"
    folder_dav.proppatch("f", removing("<D:displayname/>"))
    assert folder_dav.props("f").text(f"{D}displayname") == "f"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param("", 400, id="empty"),
        pytest.param("<", 400, id="no XML"),
        pytest.param('<D:propfind xmlns:D="DAV:"/>', 400, id="another element"),
        pytest.param('<D:propertyupdate xmlns:D="DAV:"/>', 400, id="no change"),
        pytest.param('<D:propertyupdate xmlns:D="DAV:"><D:set/></D:propertyupdate>', 400, id="no prop"),
        pytest.param("<propertyupdate><set><prop><p/></prop></set></propertyupdate>", 400, id="no namespace"),
        pytest.param(
            '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>'
            '<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><p>&b;</p></D:prop></D:set></D:propertyupdate>',
            400,
            id="entities",
        ),
        pytest.param(f"<!--{'x' * 70000}-->", 413, id="too long"),
        pytest.param("<a>" * 200 + "</a>" * 200, 400, id="too deep"),
    ],
)
def test_what_is_no_update_is_refused(folder_dav: Dav, body: str, status: int) -> None:
    folder_dav.put("f")
    assert folder_dav.send("PROPPATCH", "f", body).status_code == status


def test_there_must_be_something_to_have_properties(dav: Dav) -> None:
    body = setting('<p xmlns="x:">early</p>')
    for name in ("f", "f/", "missing/f"):
        assert dav.proppatch(name, body).status_code == 404
    dav.put("f")
    assert dav.prop("f") is None


def test_listings_show_properties_and_their_names(dav: Dav) -> None:
    dav.mkcol("c")
    dav.put("c/f%20%26")
    dav.set_prop("c", "of the collection")
    dav.set_prop("c/f%20%26", "of the file", "q")
    asked = '<propfind xmlns="DAV:" xmlns:X="x:"><prop><X:p/><X:q/><getcontentlength/></prop></propfind>'
    found = {one.href: one for one in members(dav.send("PROPFIND", "c", asked, depth="1"))}
    assert list(found) == [dav.url("c/"), dav.url("c/f%20&")]
    collection, file = found.values()
    assert collection.text("{x:}p") == "of the collection"
    assert [collection.props[name][0] for name in ("{x:}q", f"{D}getcontentlength")] == [404, 404]
    assert (file.props["{x:}p"][0], file.text("{x:}q"), file.text(f"{D}getcontentlength")) == (
        404,
        "of the file",
        "7",
    )
    names = '<D:propfind xmlns:D="DAV:"><D:propname/></D:propfind>'
    collection, file = members(dav.send("PROPFIND", "c", names, depth="1"))
    assert "{x:}p" in collection.props
    assert {"{x:}q", f"{D}getetag", f"{D}lockdiscovery"} <= set(file.props)
    assert all(status == 200 and not element.text for status, element in file.props.values())
    included = '<propfind xmlns="DAV:" xmlns:X="x:"><allprop/><include><X:z/><X:q/></include></propfind>'
    (file,) = members(dav.send("PROPFIND", "c/f%20%26", included, depth="0"))
    assert (file.text("{x:}q"), file.props["{x:}z"][0]) == ("of the file", 404)


def test_properties_stay_with_the_resource_and_go_with_it(dav: Dav) -> None:
    dav.mkcol("c")
    dav.put("c/f")
    dav.set_prop("c/f", "kept")
    dav.put("c/f", b"new content")
    assert dav.prop("c/f") == "kept"
    assert dav.send("DELETE", "c").status_code == 204
    dav.mkcol("c")
    dav.put("c/f")
    assert dav.prop("c/f") is None


def test_names_that_look_alike_are_not_the_same_resource(folder_dav: Dav) -> None:
    dav = folder_dav
    names = ("a", "ab", "A", "e%CC%81", "%C3%A9", "a%2520", "a%20")
    for name in names:
        dav.put(name)
        dav.set_prop(name, name)
    assert [dav.prop(name) for name in names] == list(names)
    assert dav.send("DELETE", "a").status_code == 204
    assert [dav.prop(name) for name in names[1:]] == list(names[1:])
