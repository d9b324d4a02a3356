"""Write every configuration file of a host that has only IPv6; the same as `zotshelf host`."""

from __future__ import annotations

import sys

from app.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["host"]
    main()
