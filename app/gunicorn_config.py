"""For those who run zotshelf under gunicorn: `gunicorn -c python:app.gunicorn_config app.main:app`.

The settings are the same ZOTSHELF_* ones, and a wrong one, or a users file that cannot be used, ends in
one line and exit code 2, as with `zotshelf serve`. The names here are gunicorn's own settings.
Needs the packages gunicorn and uvicorn-worker (`pip install 'zotshelf[gunicorn]'`).
"""

from __future__ import annotations

import sys
from typing import Final

from uvicorn_worker import UvicornWorker

from app.listen import ListenError, listen_unix
from app.serve import EXIT_PORT, EXIT_SETTING, connection_options
from app.settings import Settings, SettingsError
from app.users_file import UsersFile, UsersFileError

_HEARTBEAT_SECONDS: Final = 60
_STOP_MARGIN_SECONDS: Final = 5


def _checked() -> Settings:
    try:
        settings = Settings.load()
        UsersFile.check(settings.users_file)
    except (SettingsError, UsersFileError) as error:
        sys.stderr.write(f"zotshelf: {error}\n")
        sys.exit(EXIT_SETTING)
    return settings


_settings: Final = _checked()


def _bind(settings: Settings) -> str:
    if settings.socket:
        # gunicorn's own would take it from the group that the folder gives it, which is nginx's.
        try:
            return f"fd://{listen_unix(settings.socket).detach()}"
        except ListenError as error:
            sys.stderr.write(f"zotshelf: {error}\n")
            sys.exit(EXIT_PORT)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{host}:{settings.port}"


bind = _bind(_settings)
# Workers that serve connections just as those of `zotshelf serve` do.
worker_class = type("Worker", (UvicornWorker,), {"CONFIG_KWARGS": connection_options(_settings)})
workers = _settings.workers
timeout = _HEARTBEAT_SECONDS
graceful_timeout = _settings.shutdown_seconds + _STOP_MARGIN_SECONDS
# Else it wants to write into its home, which a hardened service has not.
control_socket_disable = True
# Of what the workers write: gunicorn's own 0 would let everybody in.
umask = 0o007
