"""An instance's metadata service as Amazon's is with tokens required (IMDSv2), with one role.

    python -m tests.lab.metadata ADDRESS ACCESS_KEY SECRET_KEY

Every request is a line of output: method, path, status.
"""

from __future__ import annotations

import datetime
import json
import secrets
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ROLE = "zotshelf"
_TOKENS = "/latest/api/token"
_CREDENTIALS = "/latest/meta-data/iam/security-credentials/"
_TOKEN_SECONDS = "x-aws-ec2-metadata-token-ttl-seconds"


class _Handler(BaseHTTPRequestHandler):
    tokens: frozenset[str] = frozenset()
    keys: tuple[str, str] = ("", "")

    def do_PUT(self) -> None:  # as http.server calls it
        seconds = self.headers.get(_TOKEN_SECONDS, "")
        if self.path != _TOKENS or not seconds.isdecimal():
            self._answer(400, "")
            return
        token = secrets.token_urlsafe()
        type(self).tokens |= {token}
        self._answer(200, token, {_TOKEN_SECONDS: seconds})

    def do_GET(self) -> None:
        if self.headers.get("x-aws-ec2-metadata-token") not in self.tokens:
            self._answer(401, "")
        elif self.path == _CREDENTIALS:
            self._answer(200, ROLE)
        elif self.path == _CREDENTIALS + ROLE:
            self._answer(200, self._role())
        else:
            self._answer(404, "")

    def _role(self) -> str:
        now = datetime.datetime.now(datetime.UTC)
        until = now + datetime.timedelta(hours=6)
        access_key, secret_key = self.keys
        return json.dumps(
            {
                "Code": "Success",
                "Type": "AWS-HMAC",
                "LastUpdated": f"{now:%Y-%m-%dT%H:%M:%SZ}",
                "Expiration": f"{until:%Y-%m-%dT%H:%M:%SZ}",
                "AccessKeyId": access_key,
                "SecretAccessKey": secret_key,
                "Token": "token-of-the-role",
            }
        )

    def _answer(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as http.server calls it
        sys.stdout.write(f"{args[0]} {args[1]}\n" if len(args) > 1 else f"{args}\n")
        sys.stdout.flush()


class _Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6


def main() -> None:
    address, *keys = sys.argv[1:]
    _Handler.keys = (keys[0], keys[1])
    with _Server((address, 80), _Handler) as server:
        sys.stdout.write("the metadata service answers\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main()
