"""Write conf/nginx-offload-*.conf, the annotated examples for those who set nginx up themselves.

They are made of the same templates as what `zotshelf host --offload` writes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from app.host.areas.nginx import example
from app.host.options import Options

_CONF: Final = Path(__file__).parents[1] / "conf"
_STORAGES: Final = {"folder": "file:/srv/zotshelf", "s3": "s3://my-bucket/library"}


def nginx_examples() -> dict[Path, str]:
    """Return every example by its path."""
    return {
        _CONF / f"nginx-offload-{kind}.conf": example(
            Options(nginx="snippet", storage=storage, offload=True, resolver=("::1",))
        )
        for kind, storage in _STORAGES.items()
    }


if __name__ == "__main__":
    for path, text in nginx_examples().items():
        path.write_text(text, encoding="utf-8")
