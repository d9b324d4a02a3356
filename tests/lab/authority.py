"""The laboratory's own certificate authority, for the names that are Amazon's or Let's Encrypt's outside."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.requirements import program

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_DAYS = ("-days", "2")


@dataclass(frozen=True)
class Authority:
    """A root certificate and its key, in a folder."""

    folder: Path

    @property
    def certificate(self) -> Path:
        return self.folder / "authority.pem"

    @property
    def _key(self) -> Path:
        return self.folder / "authority.key"

    def make(self) -> None:
        self._openssl(
            "req", "-x509", *_KEY, *_DAYS, "-subj", "/CN=laboratory", "-keyout", self._key,
            "-out", self.certificate, "-addext", "keyUsage=critical,keyCertSign",
        )  # fmt: skip

    def issue(self, *names: str) -> tuple[Path, Path]:
        """Return certificate and key for the host names, the first of which may be a wildcard."""
        stem = self.folder / names[0].replace("*", "any")
        certificate, key = stem.with_suffix(".pem"), stem.with_suffix(".key")
        request = stem.with_suffix(".csr")
        self._openssl("req", *_KEY, "-subj", f"/CN={names[0][:60]}", "-keyout", key, "-out", request)
        extensions = stem.with_suffix(".ext")
        extensions.write_text("subjectAltName=" + ",".join(f"DNS:{name}" for name in names) + "\n")
        self._openssl(
            "x509", "-req", *_DAYS, "-in", request, "-CA", self.certificate, "-CAkey", self._key,
            "-CAcreateserial", "-extfile", extensions, "-out", certificate,
        )  # fmt: skip
        return certificate, key

    @staticmethod
    def _openssl(*words: str | Path) -> None:
        done = subprocess.run(
            [program("openssl"), *map(str, words)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
