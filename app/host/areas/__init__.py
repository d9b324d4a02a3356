"""What belongs to one program on the host each: a table of templates, and the commands to put them to use."""

from __future__ import annotations

from typing import Final, Protocol

from app.host.areas import accounts, application, certificate, network, nginx, renewal
from app.host.options import Options
from app.host.render import Template


class Area(Protocol):
    """What such a module has."""

    @property
    def FILES(self) -> tuple[Template, ...]: ...  # noqa: N802  # a module's constant

    def steps(self, options: Options) -> list[str]:
        """Return the commands that put the files to use."""
        ...


AREAS: Final[tuple[Area, ...]] = (accounts, network, application, certificate, nginx, renewal)
"""In the order in which their steps are to be taken."""
