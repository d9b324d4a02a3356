"""WebDAV as the tests speak it: requests with a body of XML, and answers read and checked for their shape."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, fromstring, tostring

import httpx

from tests.servers import PASSWORD, Server
from tests.wire import check_answer

D = "{DAV:}"
_AWAKE: dict[str, str] = {}


def lockinfo(scope: str = "exclusive", owner: str = "<D:owner>me</D:owner>") -> str:
    return (
        f'<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:{scope}/></D:lockscope>'
        f"<D:locktype><D:write/></D:locktype>{owner}</D:lockinfo>"
    )


@dataclass(frozen=True)
class Member:
    """One response of a multistatus: either a status, or properties with a status each."""

    href: str
    status: int | None
    props: Mapping[str, tuple[int, Element]] = field(default_factory=dict)
    error: str = ""
    """The name of the condition in the last propstat that has one."""

    def text(self, name: str) -> str | None:
        """Return the text of a property that was found."""
        status, element = self.props[name]
        assert status == 200
        return element.text

    def xml(self, name: str) -> str:
        """Return a property that was found as XML, in one spelling of all that mean the same."""
        status, element = self.props[name]
        assert status == 200
        return canonical(element)


def canonical(element: Element) -> str:
    element.tail = None
    return tostring(element, encoding="unicode")


def members(response: httpx.Response) -> list[Member]:
    """Read a multistatus (RFC 4918 section 14.16), checking its shape."""
    assert response.status_code == 207, response.text
    assert response.headers["content-type"] == 'application/xml; charset="utf-8"'
    root = fromstring(response.content)
    assert root.tag == f"{D}multistatus"
    found = [_member(element) for element in root]
    assert len({one.href for one in found}) == len(found)
    return found


def _member(response: Element) -> Member:
    assert response.tag == f"{D}response"
    (href,) = response.findall(f"{D}href")
    assert href.text
    assert re.fullmatch(r"/[!-~]*", href.text)
    propstats = response.findall(f"{D}propstat")
    statuses = response.findall(f"{D}status")
    assert bool(propstats) != bool(statuses)
    if statuses:
        (status,) = statuses
        return Member(href.text, _status(status))
    props: dict[str, tuple[int, Element]] = {}
    error = ""
    for propstat in propstats:
        assert [child.tag for child in propstat][:2] == [f"{D}prop", f"{D}status"]
        for condition in propstat.findall(f"{D}error/*"):
            error = condition.tag
        for prop in propstat[0]:
            assert prop.tag not in props
            props[prop.tag] = _status(propstat[1]), prop
    assert len({id(propstat) for propstat in propstats}) == len({_status(one[1]) for one in propstats})
    return Member(href.text, None, props, error)


def _status(element: Element) -> int:
    found = re.fullmatch(r"HTTP/1\.1 (\d{3}) [A-Z][A-Za-z -]+", element.text or "")
    assert found is not None
    return int(found[1])


def error_of(response: httpx.Response) -> tuple[str, list[str]]:
    """Return the condition of an error's body (RFC 4918 section 16), and the hrefs in it."""
    root = fromstring(response.content)
    assert root.tag == f"{D}error"
    (condition,) = root
    return condition.tag, [element.text or "" for element in condition.iterfind(f"{D}href")]


class Dav:
    """A signed-in client; `root` is a collection of its own, with a slash."""

    def __init__(self, http: httpx.Client, root: str) -> None:
        self.http = http
        self.root = root

    def url(self, name: str) -> str:
        """Return the path of a resource in the client's collection; what begins with a slash is whole."""
        return name if name.startswith("/") else self.root + name

    def send(
        self, method: str, name: str = "", content: str | bytes = b"", token: str = "", **headers: str
    ) -> httpx.Response:
        """Send a request; `token` is submitted in an If header without a tag, `x_y` is the header x-y."""
        sent = {key.replace("_", "-"): value for key, value in headers.items()}
        if token:
            sent["if"] = f"(<{token}>)"
        body = content.encode() if isinstance(content, str) else content
        return self.http.request(method, self.url(name), content=body, headers=sent)

    def put(self, name: str, content: bytes = b"content", token: str = "") -> None:
        assert self.send("PUT", name, content, token).status_code in (201, 204)

    def mkcol(self, *names: str) -> None:
        for name in names:
            assert self.send("MKCOL", name).status_code == 201

    def get(self, name: str) -> bytes | None:
        response = self.send("GET", name)
        assert response.status_code in (200, 404)
        return response.content if response.status_code == 200 else None

    def lock(self, name: str, scope: str = "exclusive", depth: str = "infinity", token: str = "") -> str:
        """Take a lock and return its token."""
        response = self.send("LOCK", name, lockinfo(scope), token, depth=depth, timeout="Second-600")
        assert response.status_code in (200, 201), response.text
        return response.headers["lock-token"].strip("<>")

    def unlock(self, name: str, token: str) -> None:
        assert self.send("UNLOCK", name, lock_token=f"<{token}>").status_code == 204

    def locks(self, name: str) -> list[str]:
        """Return the tokens that lockdiscovery tells of."""
        found = self.props(name, "<D:lockdiscovery/>").props[f"{D}lockdiscovery"][1]
        return [element.text or "" for element in found.iterfind(f"{D}activelock/{D}locktoken/{D}href")]

    def props(self, name: str, prop: str = "") -> Member:
        """Return one resource's properties: those in `prop`, which is XML, or all of them."""
        body = f'<D:propfind xmlns:D="DAV:"><D:prop>{prop}</D:prop></D:propfind>' if prop else ""
        (found,) = members(self.send("PROPFIND", name, body, depth="0"))
        return found

    def proppatch(self, name: str, instructions: str, token: str = "", root: str = "") -> httpx.Response:
        """Send a PROPPATCH; `instructions` stand in the propertyupdate, `root` is more of its opening tag."""
        body = f'<D:propertyupdate xmlns:D="DAV:" {root}>{instructions}</D:propertyupdate>'
        return self.send("PROPPATCH", name, body, token)

    def set_prop(self, name: str, value: str, prop: str = "p", token: str = "") -> None:
        """Set the property `prop` in the namespace `x:` to a text."""
        xml = f'<D:set><D:prop><X:{prop} xmlns:X="x:">{value}</X:{prop}></D:prop></D:set>'
        response = self.proppatch(name, xml, token)
        assert {status for one in members(response) for status, _ in one.props.values()} == {200}

    def prop(self, name: str, prop: str = "p") -> str | None:
        """Return the text of a property in the namespace `x:`, None where there is none."""
        status, element = self.props(name, f'<X:{prop} xmlns:X="x:"/>').props[f"{{x:}}{prop}"]
        assert status in (200, 404)
        return element.text if status == 200 else None


def http_client(server: Server, user: str) -> httpx.Client:
    """Return a signed-in client whose every answer is checked for what must hold for all of them."""
    return httpx.Client(
        base_url=server.url,
        auth=(user, PASSWORD),
        event_hooks={"response": [check_answer]},
        timeout=60,
        trust_env=False,
        verify=False,
    )


@contextmanager
def signed_in(server: Server, user: str, *, folder: str = "") -> Iterator[Dav]:
    """Yield a client of the user whose collection is `folder`, or one that is made now."""
    with http_client(server, user) as http:
        dav = Dav(http, folder or f"/{uuid.uuid4().hex[:8]}/")
        if not folder:
            dav.mkcol("")
        yield dav


def wake(dav: Dav) -> None:
    """Take the first lock of a root and set its first property, both at once."""
    dav.mkcol("for properties")
    with ThreadPoolExecutor() as threads:
        done = threads.submit(dav.lock, "awake"), threads.submit(dav.set_prop, "for properties", "x")
    for one in done:
        one.result()


def awake_user(server: Server) -> str:
    """Return a user of the server whose root has a lock and a property somewhere.

    The first lock and the first property of a root wait for seconds; no other does.
    """
    if server.url not in _AWAKE:
        user = server.new_user()
        with signed_in(server, user) as dav:
            wake(dav)
        _AWAKE[server.url] = user
    return _AWAKE[server.url]
