"""All settings together: what must fit what, and what is made of them."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from typing import Self

from pydantic import ByteSize, ValidationError, model_validator

from app.metrics.address import MOST_PORT, MetricsAddress, parse_metrics_address
from app.place import FolderPlace, Place, parse_place
from app.settings.explanation import explain
from app.settings.fields import Fields
from app.settings.source import CONFIG, PREFIX, SettingsError, is_setting, key_of, read_file
from app.settings.values import networks


class Settings(Fields):
    """All settings; frozen. `load` reads them, the constructor takes only what it is given."""

    @property
    def place(self) -> Place:
        """What `storage` names."""
        return parse_place(self.storage)

    @property
    def metrics_address(self) -> MetricsAddress | None:
        """What `metrics` names."""
        return None if self.metrics is None else parse_metrics_address(self.metrics)

    @property
    def proxies(self) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        """What `trusted_proxies` names."""
        return networks(self.trusted_proxies)

    @model_validator(mode="after")
    def _check_memory(self) -> Self:
        if self.upload_memory < 4 * self.upload_part_size:
            raise ValueError(
                f"{PREFIX}UPLOAD_MEMORY must be at least four times {PREFIX}UPLOAD_PART_SIZE, that is"
                f" {ByteSize(4 * self.upload_part_size).human_readable()}"
            )
        return self

    @model_validator(mode="after")
    def _check_folder_writes(self) -> Self:
        if self.folder_writes == "in-place" and not isinstance(self.place, FolderPlace):
            raise ValueError(
                f"{PREFIX}FOLDER_WRITES=in-place is about a folder: it needs {PREFIX}STORAGE=file:PATH"
            )
        return self

    @model_validator(mode="after")
    def _check_metrics_ports(self) -> Self:
        ports = self.metrics_address.ports(self.workers) if self.metrics_address else range(0)
        if ports and ports[-1] > MOST_PORT:
            raise ValueError(f"{PREFIX}METRICS must leave a port for each of {PREFIX}WORKERS")
        if self.port and not self.socket and self.port in ports:
            raise ValueError(
                f"{PREFIX}METRICS takes {PREFIX}PORT: it needs ports of its own, one for each worker"
            )
        return self

    @model_validator(mode="after")
    def _check_users_file(self) -> Self:
        place = self.place
        if isinstance(place, FolderPlace) and place.covers(self.users_file):
            raise ValueError(
                f"{PREFIX}USERS_FILE must not lie in the folder of {PREFIX}STORAGE, where clients"
                " could read and replace it"
            )
        return self

    @classmethod
    def load(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read the settings from `environ` and the file it names. Raises SettingsError."""
        variables = {key_of(name): name for name, value in environ.items() if value and is_setting(name)}
        file = environ.get(CONFIG) or None
        values: dict[str, object] = read_file(file) if file else {}
        values |= {key: environ[name] for key, name in variables.items()}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise SettingsError(explain(error.errors()[0], cls.model_fields, variables, file)) from None
