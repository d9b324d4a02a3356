"""Bodies of PROPFIND, PROPPATCH and LOCK, beside what another reading of the same bytes finds in them."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from random import Random
from typing import Final, TypeVar
from xml.etree.ElementTree import Element, SubElement, fromstring, tostring
from xml.parsers import expat

from app import xml as module
from app.errors import BadXml
from app.xml import (
    Propfind,
    PropfindKind,
    element,
    lockdiscovery_document,
    parse_lockinfo,
    parse_propertyupdate,
    parse_propfind,
    propstat,
    response,
    status_response,
)
from scripts.fuzz.target import Target, choose_text

T = TypeVar("T")

_D: Final = "{DAV:}"
_LANG: Final = "{http://www.w3.org/XML/1998/namespace}lang"
_MOST_PROPERTIES: Final = 32_000_000
"""How many characters the properties of one body may become: each has its own declarations."""
_NAMES: Final = "abcé_"
_TEXT: Final = "ab <&>\"'\n\t\ré本📚]]"

_PROPFIND: Final = (
    b'<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop><a/></prop></propfind>'
)
_UPDATE: Final = (
    b'<D:propertyupdate xmlns:D="DAV:" xml:lang="en"><D:set><D:prop><x:a xmlns:x="urn:x" y="1">t<b/>'
    b"&lt;</x:a></D:prop></D:set><D:remove><D:prop><D:b/></D:prop></D:remove></D:propertyupdate>"
)
_LOCK: Final = (
    b'<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype>'
    b"<D:owner>me<D:href>http://a/</D:href></D:owner></D:lockinfo>"
)


class _DoctypeError(Exception):
    pass


def _has_doctype(body: bytes) -> bool:
    """Tell whether another parser, told nothing, comes upon a document type."""

    def found(*_: object) -> None:
        raise _DoctypeError

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = found
    try:
        parser.Parse(body, True)
    except _DoctypeError:
        return True
    except (expat.ExpatError, ValueError, LookupError):
        return False
    return False


class XmlBodies(Target):
    name = "xml"
    modules = (module,)
    seeds = (
        *(_PROPFIND, _UPDATE, _LOCK, b"", b"<", b"not XML", _PROPFIND.replace(b"utf-8", b"utf-7")),
        b'<propfind xmlns="DAV:"><allprop/><include><a/></include></propfind>',
        b'<propfind xmlns="DAV:"><propname/></propfind>',
        *(
            b'<propfind xmlns="DAV:"><allprop/><allprop/></propfind>',
            b'<propfind xmlns="DAV:"><prop/></propfind>',
        ),
        b'<propfind xmlns="DAV:"/>',
        b'<propfind xmlns="DAV:"><prop>' + b"<a>" * 200 + b"</a>" * 200 + b"</prop></propfind>",
        b'<!DOCTYPE p [<!ENTITY a "b"><!ENTITY c "&a;">]><propfind xmlns="DAV:"><prop>&c;</prop></propfind>',
        b'<!DOCTYPE p SYSTEM "http://[::1]:1/"><propfind xmlns="DAV:"><allprop/></propfind>',
        b'<!DOCTYPE p [<!ENTITY a SYSTEM "file:///etc/passwd">]><propfind xmlns="DAV:"><allprop/></propfind>',
        b'<propertyupdate xmlns="DAV:" xmlns:x="'
        + b"u" * 20000
        + b'"><remove><prop>'
        + b"<x:a/>" * 2000
        + b"</prop></remove></propertyupdate>",
        b'<propfind xmlns="DAV:" xmlns:x="' + b"u" * 2000 + b'"><prop><x:a/></prop></propfind>',
        b'<propfind xmlns="DAV:"><prop>'
        + b"".join(b"<a%d/>" % n for n in range(2000))
        + b"</prop></propfind>",
        *(
            _PROPFIND.decode().encode("utf-16"),
            codecs.BOM_UTF8 + _PROPFIND,
            _PROPFIND.replace(b"utf-8", b"utf-16"),
        ),
        _PROPFIND.replace(b"utf-8", b"iso-8859-1").replace(b"<a/>", b"<\xe9/>"),
        *(_PROPFIND.replace(b"utf-8", b"us-ascii"), _PROPFIND.replace(b"utf-8", b"unicode_escape")),
        b"<?p i?><!--c-->" + _PROPFIND[38:] + b"<!--d--><?e?>",
        _UPDATE.replace(b"set", b"x").replace(b"remove", b"y"),
        _LOCK.replace(b"exclusive", b"shared").replace(b"<D:owner>me", b"<D:owner xml:lang='de'>me"),
        *(_LOCK.replace(b"<D:exclusive/>", b"<D:exclusive/><D:shared/>"), _LOCK.replace(b"lockinfo", b"a")),
        *(b"<a/>", b'<propertyupdate xmlns="DAV:"/>', b'<lockinfo xmlns="DAV:"/>'),
    )
    words = (
        *(b"<a/>", b"<a>", b"</a>", b"<D:prop>", b"</D:prop>", b'xmlns:x="urn:x"', b'xmlns=""', b"<x:a/>"),
        *(
            b"<!DOCTYPE a>",
            b"<!ENTITY a 'b'>",
            b"&a;",
            b"&#x0;",
            b"&#65;",
            b"<![CDATA[",
            b"]]>",
            b"<!--",
            b"-->",
        ),
        *(b'encoding="utf-7"', b"utf-16", b'xml:lang="de"', b"<?p i?>", b'a="b" ', b"{", b"}", b"{DAV:}"),
    )

    def check(self, data: bytes) -> None:
        parsers: tuple[Callable[[bytes], object], ...] = (
            parse_propfind,
            parse_propertyupdate,
            parse_lockinfo,
        )
        results = [_tried(parser, data) for parser in parsers]
        if data.strip() and any(result is not None for result in results):
            assert not _has_doctype(data), "a document type that was taken"
            assert sum(result is not None for result in results) == 1, "one body of two kinds"
        propfind, update, _ = results
        if isinstance(propfind, Propfind):
            self._check_propfind(propfind)
        if isinstance(update, list):
            self._check_update(update)

    def _check_propfind(self, asked: Propfind) -> None:
        assert len("".join(asked.names)) <= 20_000, "an answer that grows with every member"
        if asked.kind is PropfindKind.PROP:
            assert asked.names
        for name in asked.names:
            (found,) = fromstring(f'<r xmlns:D="DAV:">{element(name)}</r>')
            assert found.tag == name, "a name that is not written as it was read"

    def _check_update(self, changes: list[tuple[str, str | None]]) -> None:
        assert changes
        assert sum(len(name) + len(xml or "") for name, xml in changes) <= _MOST_PROPERTIES, "a bomb"
        for name, xml in changes[:20]:
            assert xml is None or fromstring(xml).tag == name, "a property under another name"

    def check_model(self, random: Random) -> None:
        random.choice((self._model_propfind, self._model_update, self._model_lock))(random)
        href = choose_text(random, _TEXT.replace("\r", ""))
        ready = response(href, propstat(element("{urn:x}a", "b") + element("a", "c"), "200 OK"))
        assert fromstring(f'<r xmlns:D="DAV:">{ready}</r>').findtext(f"{_D}response/{_D}href") == href
        assert "423 Locked" in status_response(href, "423 Locked")
        assert fromstring(lockdiscovery_document("")).tag == f"{_D}prop"

    def _model_propfind(self, random: Random) -> None:
        names = dict.fromkeys(_name(random) for _ in range(random.randint(1, 5)))
        root = Element(f"{_D}propfind")
        include = random.random() < 0.3
        if include:
            SubElement(root, f"{_D}allprop")
        listed = SubElement(root, f"{_D}include" if include else f"{_D}prop")
        for name in names:
            SubElement(listed, name)
        found = parse_propfind(_encoded(random, root))
        assert found == (PropfindKind.ALLPROP if include else PropfindKind.PROP, tuple(names)), "other names"

    def _model_update(self, random: Random) -> None:
        root = Element(f"{_D}propertyupdate")
        expected: list[Element | str] = []
        for _ in range(random.randint(1, 4)):
            removes = random.random() < 0.3
            listed = SubElement(SubElement(root, f"{_D}remove" if removes else f"{_D}set"), f"{_D}prop")
            prop = SubElement(listed, _name(random))
            _fill(random, prop, depth=3)
            expected.append(prop.tag if removes else prop)
        found = parse_propertyupdate(_encoded(random, root))
        assert len(found) == len(expected)
        for (name, xml), wanted in zip(found, expected, strict=True):
            if isinstance(wanted, str):
                assert (name, xml) == (wanted, None)
            else:
                assert xml is not None
                assert _same(fromstring(xml), wanted), "a property did not survive"

    def _model_lock(self, random: Random) -> None:
        root = Element(f"{_D}lockinfo")
        scope = random.choice(("exclusive", "shared"))
        SubElement(SubElement(root, f"{_D}lockscope"), f"{_D}{scope}")
        SubElement(SubElement(root, f"{_D}locktype"), f"{_D}write")
        owner = SubElement(root, f"{_D}owner")
        _fill(random, owner, depth=2)
        found = parse_lockinfo(_encoded(random, root))
        assert found.scope.value == scope
        assert _same(fromstring(found.owner), owner), "the owner did not survive"


def _tried(parse: Callable[[bytes], T], data: bytes) -> T | None:
    try:
        return parse(data)
    except BadXml:
        return None


def _name(random: Random) -> str:
    space = random.choice(("{DAV:}", "{urn:x}", "", "{http://a/?b=c&d='e'<\"}", "{" + "n" * 900 + "}"))
    return f"{space}{choose_text(random, _NAMES)}"


def _fill(random: Random, parent: Element, depth: int) -> None:
    if random.random() < 0.7:
        parent.text = choose_text(random, _TEXT)
    if random.random() < 0.3:
        parent.set(random.choice(("a", "{urn:y}b", _LANG)), choose_text(random, _TEXT.replace("\r", "")))
    for _ in range(random.randint(0, 2) if depth else 0):
        child = SubElement(parent, _name(random))
        child.tail = random.choice((None, choose_text(random, _TEXT)))
        _fill(random, child, depth - 1)


def _encoded(random: Random, root: Element) -> bytes:
    text = tostring(root, encoding="unicode").replace("\r", "&#13;")
    encoding, mark = random.choice(
        (("utf-8", b""), ("utf-8", codecs.BOM_UTF8), ("utf-16-le", codecs.BOM_UTF16_LE), ("iso-8859-1", b""))
    )
    declared = encoding.removesuffix("-le")
    head = f'<?xml version="1.0" encoding="{declared}"?>'
    return mark + (head + text).encode(encoding, "xmlcharrefreplace")


def _same(one: Element, other: Element) -> bool:
    """Tell whether two elements have the same name, attributes, text and members; tails are apart."""
    return (
        one.tag == other.tag
        and one.attrib == other.attrib
        and (one.text or "") == (other.text or "")
        and len(one) == len(other)
        and all(_same(a, b) and (a.tail or "") == (b.tail or "") for a, b in zip(one, other, strict=True))
    )
