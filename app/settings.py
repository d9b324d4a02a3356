"""Every setting of the server: its name, its one default, its check.

Settings come from ZOTSHELF_* variables and from a TOML file that ZOTSHELF_CONFIG names; the
environment wins. What the AWS SDK reads by itself (AWS_*) is not looked at here.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ByteSize,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from app.place import FolderPlace, Place, S3Place, parse_place

__all__ = ["FolderPlace", "Place", "S3Place", "Settings", "SettingsError"]

PREFIX: Final = "ZOTSHELF_"
CONFIG: Final = "ZOTSHELF_CONFIG"
"""The variable that names the TOML file."""

_KIB: Final = 2**10
_MIB: Final = 2**20
_GIB: Final = 2**30
_DAY: Final = 86400

_SIZE: Final = re.compile(r"\d+(\.\d+)?\s*([kmgt]i?)?b|\d+", re.IGNORECASE | re.ASCII)
_UNRESERVED: Final = re.compile(r"[A-Za-z0-9._~-]+")  # RFC 3986 section 2.3
_HOST_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")


class SettingsError(Exception):
    """A setting is wrong or unknown; the text is one line that names it and says what is expected."""


def _checked_storage(text: str) -> str:
    parse_place(text)
    return text


def checked_base_path(path: str) -> str:
    segments = path.strip("/").split("/") if path.strip("/") else []
    if (
        not path.startswith("/")
        or path.startswith("//")
        or not all(map(_UNRESERVED.fullmatch, segments))
        or not {"-", ".", ".."}.isdisjoint(segments)
    ):
        raise ValueError(
            "must begin with '/' and have segments of letters, digits, '.', '_', '~' and '-'"
            " that are neither '-', '.' nor '..'"
        )
    return "/" + "/".join(segments)


def _checked_host(host: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        labels = host.removesuffix(".").split(".")
    # A last label of digits only belongs to a mistyped IPv4 address.
    if len(host) > 253 or not all(map(_HOST_LABEL.fullmatch, labels)) or labels[-1].isdigit():
        raise ValueError("must be an IPv6 or IPv4 address or a host name; '::' means every address")
    return host


def _checked_file(path: Path) -> Path:
    if path == Path() or "\0" in str(path):
        raise ValueError("must be the path of a file")
    return path


def _checked_size(value: object) -> object:
    # ByteSize would take the beginning of '8,5MiB' for 8 bytes.
    if isinstance(value, str) and not _SIZE.fullmatch(value.strip()):
        raise ValueError("must be a size in bytes, such as 8388608 or 8MiB")
    return value


Size: TypeAlias = Annotated[ByteSize, BeforeValidator(_checked_size)]


class Settings(BaseSettings):
    """All settings; frozen. `load` reads them, the constructor takes only what it is given."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    storage: Annotated[str, AfterValidator(_checked_storage)] = Field(
        default="file:./data",
        description="Where attachments are kept: `file:PATH` or `s3://BUCKET[/PREFIX]`. `{user}` in it gives"
        " every user a root of their own; without it all users share one.",
    )
    users_file: Annotated[Path, AfterValidator(_checked_file)] = Field(
        default=Path("users.htpasswd"),
        description="The htpasswd file of those who may sign in, bcrypt entries as `htpasswd -B` writes"
        " them. It is read again when it changes, and must not lie in the storage's folder.",
    )
    base_path: Annotated[str, AfterValidator(checked_base_path)] = Field(
        default="/", description="The URL path of the WebDAV root."
    )
    host: Annotated[str, AfterValidator(_checked_host)] = Field(
        default="::",
        description="The address or host name to listen on. `::` is every address, IPv6 and IPv4.",
    )
    port: int = Field(
        default=8080, ge=0, le=65535, description="The TCP port to listen on; 0 takes any free one."
    )
    socket: Annotated[Path, AfterValidator(_checked_file)] | None = Field(
        default=None,
        description="The path of a Unix socket to listen on, instead of an address and a port. Owner and"
        " group may connect; a socket that was left behind is replaced.",
    )
    workers: int = Field(default=1, ge=1, le=64, description="How many processes serve requests.")
    s3_dualstack: bool = Field(
        default=True,
        description="Reach AWS by its dual-stack names, which have IPv6 addresses too. Without effect"
        " with a custom endpoint.",
    )
    s3_addressing: Literal["virtual", "path", "auto"] | None = Field(
        default=None,
        description="Whether the bucket stands in the host name (`virtual`) or in the path (`path`), or the"
        " SDK chooses (`auto`). When not given: `virtual` on AWS, `path` with a custom endpoint.",
    )
    imds_ipv6: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Whether the instance role's credentials are fetched over IPv6. `auto`: where the host"
        " has no IPv4 route.",
    )
    upload_part_size: Size = Field(
        default=ByteSize(8 * _MIB),
        ge=64 * _KIB,
        le=5 * _GIB,
        description="The size of the parts in which an upload travels to S3; a smaller file is sent whole."
        " AWS takes no parts below 5 MiB.",
    )
    upload_memory: Size = Field(
        default=ByteSize(96 * _MIB),
        ge=256 * _KIB,
        le=1024 * _GIB,
        description="The memory that all uploads to S3 of one process may take together; at least four"
        " parts.",
    )
    offload: Literal["none", "nginx"] = Field(
        default="none",
        description="Who sends the files: the server itself (`none`), or the nginx in front of it (`nginx`),"
        " which must then be set up as `docs/offload.md` says.",
    )
    client_timeout: float = Field(
        default=60,
        ge=0.1,
        le=_DAY,
        description="A client that sends or takes nothing for so many seconds is cut off.",
    )
    infinite_propfind: bool = Field(
        default=False,
        description="Whether PROPFIND may ask for a whole tree (`Depth: infinity`).",
    )
    discard_size: Size = Field(
        default=ByteSize(_GIB),
        ge=0,
        le=1024 * _GIB,
        description="How much of a refused request's body is read and thrown away so that the client can"
        " read the answer.",
    )
    discard_seconds: float = Field(
        default=300,
        ge=0,
        le=_DAY,
        description="How long, in seconds, a refused request's body is read and thrown away.",
    )
    shutdown_seconds: int = Field(
        default=30,
        ge=0,
        le=_DAY,
        description="How long, in seconds, requests may go on once the server has been told to stop.",
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="How log lines are written: `text` or `json`."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least grave kind of log line that is written."
    )

    @property
    def place(self) -> Place:
        """What `storage` names."""
        return parse_place(self.storage)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_numbers(cls, value: object, info: ValidationInfo) -> object:
        field = cls.model_fields[info.field_name or ""]
        if isinstance(value, bool) and field.annotation in (int, float, ByteSize):
            raise ValueError(f"must be {_wanted(field)}")
        return value

    @model_validator(mode="after")
    def _check_memory(self) -> Self:
        if self.upload_memory < 4 * self.upload_part_size:
            raise ValueError(
                f"{PREFIX}UPLOAD_MEMORY must be at least four times {PREFIX}UPLOAD_PART_SIZE, that is"
                f" {ByteSize(4 * self.upload_part_size).human_readable()}"
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
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  # the names are pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the constructor read nothing: `load` brings its own sources."""
        return (init_settings,)

    @classmethod
    def load(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read the settings from `environ` and the file it names. Raises SettingsError."""
        environment = _Environment(cls, environ)
        file = environ.get(CONFIG) or None
        sources = (environment, _toml(cls, file)) if file else (environment,)
        # Not called as cls(...): a type checker knows only the fields as its arguments.
        build: Callable[..., Self] = cls
        try:
            return build(_build_sources=(sources, {}))
        except ValidationError as error:
            raise SettingsError(_explain(error.errors()[0], environment.names, file)) from None


class _Environment(PydanticBaseSettingsSource):
    """The ZOTSHELF_* variables that are not empty; the unknown among them, too, so that they are refused.

    `names` maps what a value is stored as to the variable it came from.
    """

    def __init__(self, settings_cls: type[BaseSettings], environ: Mapping[str, str]) -> None:
        super().__init__(settings_cls)
        self.names: dict[str, str] = {}
        self._values: dict[str, str] = {}
        for variable, value in environ.items():
            if value and variable.startswith(PREFIX) and variable != CONFIG:
                name = variable.removeprefix(PREFIX)
                # Variables are upper-case; any other spelling is one that we do not know.
                key = name.lower() if name == name.upper() else name
                self.names[key] = variable
                self._values[key] = value

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        return self._values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return dict(self._values)


def _toml(cls: type[BaseSettings], file: str) -> InitSettingsSource:
    try:
        return InitSettingsSource(cls, tomllib.loads(Path(file).read_text(encoding="utf-8")))
    except OSError as error:
        reason = f"must be a file that can be read: {error.strerror}"
    except ValueError as error:
        reason = f"must be TOML: {error}"
    raise SettingsError(f"{CONFIG} names {file!r}, which {reason}")


def _explain(error: ErrorDetails, variables: Mapping[str, str], file: str | None) -> str:
    """Return one line about one of pydantic's errors. No value is quoted: one might be a secret."""
    context = error.get("ctx", {})
    if not error["loc"]:
        return str(context["error"]) + (f" (settings file: {file!r})" if file else "")
    key = str(error["loc"][0])
    if error["type"] == "extra_forbidden":
        return _explain_unknown(key, variables, file)
    if error["type"] == "value_error":
        demand = str(context["error"])
    elif error["type"] == "literal_error":
        demand = f"must be {context['expected']}"
    else:
        demand = f"must be {_wanted(Settings.model_fields[key])}"
    variable = variables.get(key)
    return f"{variable or PREFIX + key.upper()} {demand}" + ("" if variable else f" ({key} in {file!r})")


def _explain_unknown(key: str, variables: Mapping[str, str], file: str | None) -> str:
    near = difflib.get_close_matches(key.lower(), Settings.model_fields, n=1, cutoff=0.5)
    if key in variables:
        shown = variables[key].encode("unicode_escape").decode()
        return f"{shown} is not a setting" + (f"; did you mean {PREFIX}{near[0].upper()}?" if near else "")
    return f"{key!r} in {file!r} is not a setting" + (f"; did you mean {near[0]!r}?" if near else "")


def _wanted(field: FieldInfo) -> str:
    """Say what values a field takes."""
    kinds: dict[object, str] = {
        bool: "on or off",
        int: "a whole number",
        float: "a number",
        ByteSize: "a size such as 8MiB,",
    }
    return kinds.get(field.annotation, "a text") + _bounds(field)


def _bounds(field: FieldInfo) -> str:
    limits = [
        getattr(constraint, name)
        for name in ("ge", "le")
        for constraint in field.metadata
        if hasattr(constraint, name)
    ]
    if not limits:
        return ""
    if field.annotation is ByteSize:
        limits = [ByteSize(limit).human_readable() for limit in limits]
    return " from {} to {}".format(*limits)
