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
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from app.metrics.address import MOST_PORT, MetricsAddress, parse_metrics_address
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


def _checked_metrics(text: str) -> str:
    parse_metrics_address(text)
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


def _networks(text: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return [ipaddress.ip_network(part.strip().strip("[]")) for part in text.split(",") if part.strip()]


def _checked_networks(text: str) -> str:
    try:
        _networks(text)
    except ValueError:
        raise ValueError("must be addresses or networks such as ::1, 2001:db8::/48") from None
    return text


def _checked_size(value: object) -> object:
    # ByteSize would take the beginning of '8,5MiB' for 8 bytes.
    if isinstance(value, str) and not _SIZE.fullmatch(value.strip()):
        raise ValueError("must be a size in bytes, such as 8388608 or 8MiB")
    return value


Size: TypeAlias = Annotated[ByteSize, BeforeValidator(_checked_size)]


class Settings(BaseModel):
    """All settings; frozen. `load` reads them, the constructor takes only what it is given."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)

    storage: Annotated[str, AfterValidator(_checked_storage)] = Field(
        default="file:./data",
        description="Where attachments are kept: `file:PATH` or `s3://BUCKET[/PREFIX]`. `{user}` in it gives"
        " every user a root of their own; without it all users share one.",
    )
    folder_writes: Literal["atomic", "in-place"] = Field(
        default="atomic",
        description="How files get into a folder: under another name first and then in place, in one step"
        " (`atomic`), or `in-place`, for mounts that cannot rename (mountpoint-s3), without locks and"
        " properties; see `docs/in-place.md`.",
    )
    trash_days: int = Field(
        default=30,
        ge=0,
        le=3650,
        description="For how many days a folder keeps what is overwritten or deleted, for `zotshelf restore`;"
        " 0 keeps nothing. Before the disk is full the oldest gives way; no quota counts it. Files written"
        " in place are not kept, and a bucket keeps versions by itself; see `docs/versions.md`.",
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
        " parts. One upload takes two parts of it, or up to five while others leave room.",
    )
    sweep_age: float = Field(
        default=_DAY,
        ge=0,
        le=365 * _DAY,
        description="Parts of uploads to S3 that were never finished are removed when nothing has come for"
        " so many seconds. Give the server a bucket or a prefix of its own: whatever is unfinished in it is"
        " taken for its own. 0 removes nothing.",
    )
    offload: Literal["none", "nginx"] = Field(
        default="none",
        description="Who sends the files: the server itself (`none`), or the nginx in front of it (`nginx`),"
        " which must then be set up as `docs/offload.md` says.",
    )
    connections: int = Field(
        default=4096,
        ge=1,
        le=1_000_000,
        description="How many connections a worker keeps at once; each may need two open files. Beyond that,"
        " one that waits for its next request gives way; where none does, who comes is told to try again.",
    )
    user_requests: int = Field(
        default=256,
        ge=1,
        le=1_000_000,
        description="How many requests of one user a worker answers at once; further ones are told to try"
        " again.",
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
    trusted_proxies: Annotated[str, AfterValidator(_checked_networks)] = Field(
        default="::1, 127.0.0.0/8",
        description="The addresses and networks of the proxies whose `X-Forwarded-For` tells who the client"
        " is, with commas between.",
    )
    quota: Size = Field(
        default=ByteSize(0),
        ge=0,
        le=2**60,
        description="How many bytes of files each user may store, or all together where they share one root;"
        " 0 is no limit. Each worker counts for itself and looks again every hour; see `docs/limits.md`.",
    )
    hourly_deletions: int = Field(
        default=0,
        ge=0,
        le=10**9,
        description="How many files and collections a user may delete within an hour, against broken clients"
        " and stolen passwords; 0 is no limit. Every worker counts for itself; see `docs/limits.md`.",
    )
    failed_sign_ins: int = Field(
        default=5,
        ge=0,
        le=1000,
        description="After so many wrong passwords for one account from one client (an IPv6 /64 counts as"
        " one) each further one blocks twice as long, up to 15 minutes. Every worker counts for itself. 0"
        " blocks nobody.",
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
    metrics: Annotated[str, AfterValidator(_checked_metrics)] | None = Field(
        default=None,
        description="The address and port, such as `[::1]:9633`, at which Prometheus may ask the server how"
        " it goes, without a password; further workers take the ports behind it. See `docs/metrics.md`.",
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

    @property
    def metrics_address(self) -> MetricsAddress | None:
        """What `metrics` names."""
        return None if self.metrics is None else parse_metrics_address(self.metrics)

    @property
    def proxies(self) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        """What `trusted_proxies` names."""
        return _networks(self.trusted_proxies)

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
        variables = {_key(name): name for name, value in environ.items() if value and _is_setting(name)}
        file = environ.get(CONFIG) or None
        values: dict[str, object] = _toml(file) if file else {}
        values |= {key: environ[name] for key, name in variables.items()}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise SettingsError(_explain(error.errors()[0], variables, file)) from None


def _is_setting(variable: str) -> bool:
    # The unknown ones, too, so that they are refused.
    return variable.startswith(PREFIX) and variable != CONFIG


def _key(variable: str) -> str:
    """Return what the value of a variable is stored as."""
    name = variable.removeprefix(PREFIX)
    # Variables are upper-case; any other spelling is one that we do not know.
    return name.lower() if name == name.upper() else name


def _toml(file: str) -> dict[str, object]:
    try:
        return tomllib.loads(Path(file).read_text(encoding="utf-8"))
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
