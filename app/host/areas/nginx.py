"""nginx: the site or snippet before zotshelf, and the relay for clients without IPv6."""

from __future__ import annotations

from typing import Any, Final

from app.host.checked import bracketed
from app.host.options import Options
from app.host.render import Template, text

_HTTP2_DIRECTIVE: Final = (1, 25, 1)
_RESOLVER_IPV4: Final = (1, 23, 1)

_OWN: Final = "Your own directives for the server go into /etc/nginx/zotshelf.d/*.conf, which it includes."


def _has_zotshelf(options: Options) -> bool:
    return options.nginx != "none" and not options.is_relay


def _values(options: Options) -> dict[str, Any]:
    version = options.nginx_knows
    return {
        "http2_directive": options.http2 and version >= _HTTP2_DIRECTIVE,
        "http2_parameter": options.http2 and version < _HTTP2_DIRECTIVE,
        "streaming_in_server": options.nginx == "site",
        # In a snippet the server, and with it this header, is the operator's own.
        "hsts": options.hsts and options.nginx == "site",
        "resolver_parameters": "valid=30s ipv4=off" if version >= _RESOLVER_IPV4 else "valid=30s",
    }


FILES: Final[tuple[Template, ...]] = (
    Template("etc/nginx/conf.d/zotshelf.conf", when=_has_zotshelf, values=_values, editable=_OWN),
    Template("etc/nginx/snippets/zotshelf.conf", when=_has_zotshelf, values=_values),
    Template(
        "etc/nginx/snippets/zotshelf-streaming.conf",
        when=lambda options: options.nginx == "snippet" and not options.is_relay,
    ),
    Template(
        "etc/nginx/modules-enabled/90-zotshelf-relay.conf",
        when=lambda options: options.is_relay,
        values=lambda options: {"relayed": bracketed(options.relay_to or "")},
    ),
)


def example(options: Options) -> str:
    """Return an annotated example of offload, for those who set nginx up themselves."""
    return text(
        "examples/nginx-offload.conf.jinja", options, **{**_values(options), "streaming_in_server": True}
    )


def steps(options: Options) -> list[str]:
    if options.nginx == "none" and not options.is_relay:
        return []
    # With Debian's own site at port 80 `nginx -t` would pass and the reload fail.
    room = ["rm -f /etc/nginx/sites-enabled/default   # it holds port 80"] if options.is_relay else []
    return [*room, "nginx -t", "systemctl reload nginx"]
