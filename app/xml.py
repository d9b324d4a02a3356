"""WebDAV's XML: bounded bytes to requests, entries to a multistatus. The only place that escapes XML."""

from __future__ import annotations

import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from enum import Enum
from typing import Final, NamedTuple
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, register_namespace, tostring
from xml.sax.saxutils import escape, quoteattr

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from app.errors import BadXml
from app.journal.state import Scope

DAV: Final = "{DAV:}"

MULTISTATUS_OPEN: Final = '<?xml version="1.0" encoding="utf-8"?>\n<D:multistatus xmlns:D="DAV:">\n'
MULTISTATUS_CLOSE: Final = "</D:multistatus>\n"

_LANG: Final = "{http://www.w3.org/XML/1998/namespace}lang"
_MAX_DEPTH: Final = 100
_MAX_NAMESPACE: Final = 1024
_MAX_ASKED: Final = 16384
"""How many characters the names of all properties that a PROPFIND asks for may have together.

Each stands again in the response for each member, its namespace written out, however short it was.
"""

_ENCODING: Final = re.compile(rb"""<\?xml\s[^>]*?\sencoding\s*=\s*["']([^"']*)["']""")
# All others would be looked up among Python's, which remembers every name it was ever asked for.
_ENCODINGS: Final = {b"utf-8": "utf-8", b"us-ascii": "ascii", b"iso-8859-1": "latin-1"}

# Windows reads elements of DAV: by this prefix, whatever it is declared to mean.
register_namespace("D", "DAV:")


class PropfindKind(Enum):
    PROP = "prop"
    ALLPROP = "allprop"
    PROPNAME = "propname"


class Propfind(NamedTuple):
    """RFC 4918 section 14.20. `names` are what `prop` or `include` lists, as `{namespace}local`."""

    kind: PropfindKind
    names: tuple[str, ...] = ()


def parse_propfind(body: bytes) -> Propfind:
    """Read the body of a PROPFIND; an empty one means allprop. Raises BadXml."""
    if not body.strip():
        return Propfind(PropfindKind.ALLPROP)
    root = _parse(body)
    if root.tag != f"{DAV}propfind":
        raise BadXml("the body of PROPFIND must be a DAV: propfind element")
    parts: dict[str, Element] = {}
    for child in root:
        if child.tag in parts:
            raise BadXml("an element of propfind stands twice")
        parts[child.tag] = child
    kinds = [kind for kind in PropfindKind if DAV + kind.value in parts]
    include = parts.get(f"{DAV}include")
    if len(kinds) != 1 or (include is not None and kinds[0] is not PropfindKind.ALLPROP):
        raise BadXml("propfind needs one of prop, propname, and allprop with or without include")
    listed = parts[f"{DAV}prop"] if kinds[0] is PropfindKind.PROP else include
    names = dict.fromkeys(child.tag for child in listed) if listed is not None else {}
    if kinds[0] is PropfindKind.PROP and not names:
        raise BadXml("prop names no property")
    if sum(map(len, names)) > _MAX_ASKED:
        raise BadXml("propfind names too many properties")
    return Propfind(kinds[0], tuple(names))


def parse_propertyupdate(body: bytes) -> list[tuple[str, str | None]]:
    """Read the body of a PROPPATCH (RFC 4918 section 14.19) into changes, in order. Raises BadXml.

    Each is the property's `{namespace}local` and the whole element as XML, or None to remove it.
    """
    root = _parse(body)
    if root.tag != f"{DAV}propertyupdate":
        raise BadXml("the body of PROPPATCH must be a DAV: propertyupdate element")
    changes: list[tuple[str, str | None]] = []
    for instruction in root:
        if instruction.tag not in (f"{DAV}set", f"{DAV}remove"):
            continue
        for prop in instruction.iterfind(f"{DAV}prop"):
            language = _language(prop, instruction, root)
            for change in prop:
                xml = _standalone(change, language) if instruction.tag == f"{DAV}set" else None
                changes.append((change.tag, xml))
    if not changes:
        raise BadXml("propertyupdate changes no property")
    return changes


def _language(*inner_to_outer: Element) -> str | None:
    languages = (element.get(_LANG) for element in inner_to_outer)
    return next((language for language in languages if language is not None), None)


def _standalone(prop: Element, language: str | None) -> str:
    """Return a property's element as XML that can stand anywhere, its inherited language with it."""
    if language and prop.get(_LANG) is None:
        prop.set(_LANG, language)
    prop.tail = None
    # A carriage return that is written as such is read as a newline (XML 1.0 section 2.11).
    return tostring(prop, encoding="unicode", short_empty_elements=True).replace("\r", "&#13;")


class LockInfo(NamedTuple):
    """RFC 4918 section 14.11; `owner` is XML, empty if there was none."""

    scope: Scope
    owner: str


def parse_lockinfo(body: bytes) -> LockInfo:
    """Read the body of a LOCK. Raises BadXml."""
    root = _parse(body)
    if root.tag != f"{DAV}lockinfo":
        raise BadXml("the body of LOCK must be a DAV: lockinfo element")
    scopes = [scope for scope in Scope if root.find(f"{DAV}lockscope/{DAV}{scope.value}") is not None]
    if len(scopes) != 1 or root.find(f"{DAV}locktype/{DAV}write") is None:
        raise BadXml("lockinfo needs a lockscope, exclusive or shared, and the locktype write")
    owner = root.find(f"{DAV}owner")
    return LockInfo(scopes[0], "" if owner is None else _standalone(owner, _language(root)))


def lockdiscovery_document(active_locks: str) -> str:
    """Return the body that answers a LOCK; `active_locks` is XML."""
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<D:prop xmlns:D="DAV:">'
        f"<D:lockdiscovery>{active_locks}</D:lockdiscovery></D:prop>\n"
    )


class _Tree(TreeBuilder):
    """An element tree without long namespaces: of each name of an element it has a copy."""

    def start_ns(self, prefix: str, uri: str) -> None:  # noqa: ARG002  # as the parser calls it
        if len(uri) > _MAX_NAMESPACE:
            raise BadXml("a namespace is too long")


def _parse(body: bytes) -> Element:
    parser = DefusedXMLParser(target=_Tree(), forbid_dtd=True)
    try:
        parser.feed(_decoded(body))
        root: Element = parser.close()
    except (ParseError, DefusedXmlException, ValueError):
        # ValueError: bytes that do not fit their encoding.
        raise BadXml("the body is not well-formed XML, or has a document type") from None
    if _deeper_than(root, _MAX_DEPTH):
        raise BadXml("the XML is nested too deeply")
    return root


def _decoded(body: bytes) -> str:
    """Return the text of an XML entity, as XML 1.0 section 4.3.3 tells its encoding. Raises ValueError."""
    if body.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return body.decode("utf-16")
    if body.startswith(BOM_UTF8):
        return body.decode("utf-8-sig")
    declared = _ENCODING.match(body)
    encoding = _ENCODINGS.get(declared[1].lower()) if declared else "utf-8"
    if encoding is None:
        raise BadXml("the XML has an encoding that is not known here")
    return body.decode(encoding)


def _deeper_than(root: Element, limit: int) -> bool:
    level = [root]
    for _ in range(limit):
        level = [child for element in level for child in element]
        if not level:
            return False
    return True


def element(name: str, content: str | None = None) -> str:
    """Return the element `name` (`{namespace}local`) around `content`, which is XML already."""
    namespace, _, local = name.rpartition("}")
    namespace = namespace[1:]
    if namespace == "DAV:":
        tag, opening = f"D:{local}", f"D:{local}"
    elif namespace:
        tag, opening = f"X:{local}", f"X:{local} xmlns:X={quoteattr(namespace)}"
    else:
        tag, opening = local, local
    return f"<{opening}/>" if content is None else f"<{opening}>{content}</{tag}>"


def propstat(properties: str, status: str, error: str = "") -> str:
    """Return a propstat of ready-made property elements; `status` is like `200 OK`, `error` XML."""
    return (
        f"<D:propstat><D:prop>{properties}</D:prop><D:status>HTTP/1.1 {status}</D:status>{error}</D:propstat>"
    )


def response(href: str, content: str) -> str:
    """Return a response element; `href` is percent-encoded, `content` is XML already."""
    return f"<D:response><D:href>{escape(href)}</D:href>{content}</D:response>\n"


def status_response(href: str, status: str) -> str:
    """Return a response element for a resource that something happened to; `status` is like `423 Locked`."""
    return response(href, f"<D:status>HTTP/1.1 {status}</D:status>")
