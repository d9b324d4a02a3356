"""Every setting of the server: its name, its one default, its check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ByteSize, ConfigDict, Field, ValidationInfo, field_validator

from app.settings.explanation import wanted
from app.settings.values import (
    Size,
    checked_base_path,
    checked_file,
    checked_host,
    checked_metrics,
    checked_networks,
    checked_storage,
)

_KIB: Final = 2**10
_MIB: Final = 2**20
_GIB: Final = 2**30
_DAY: Final = 86400


class Fields(BaseModel):
    """What each setting is by itself; in the order of the README's table."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)

    storage: Annotated[str, AfterValidator(checked_storage)] = Field(
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
    users_file: Annotated[Path, AfterValidator(checked_file)] = Field(
        default=Path("users.htpasswd"),
        description="The htpasswd file of those who may sign in, bcrypt entries as `htpasswd -B` writes"
        " them. It is read again when it changes, and must not lie in the storage's folder.",
    )
    base_path: Annotated[str, AfterValidator(checked_base_path)] = Field(
        default="/", description="The URL path of the WebDAV root."
    )
    host: Annotated[str, AfterValidator(checked_host)] = Field(
        default="::",
        description="The address or host name to listen on. `::` is every address, IPv6 and IPv4.",
    )
    port: int = Field(
        default=8080, ge=0, le=65535, description="The TCP port to listen on; 0 takes any free one."
    )
    socket: Annotated[Path, AfterValidator(checked_file)] | None = Field(
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
    trusted_proxies: Annotated[str, AfterValidator(checked_networks)] = Field(
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
    metrics: Annotated[str, AfterValidator(checked_metrics)] | None = Field(
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

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_numbers(cls, value: object, info: ValidationInfo) -> object:
        field = cls.model_fields[info.field_name or ""]
        if isinstance(value, bool) and field.annotation in (int, float, ByteSize):
            raise ValueError(f"must be {wanted(field)}")
        return value
