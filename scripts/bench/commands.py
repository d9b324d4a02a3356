"""How each server is started.

Each runs with the defaults of its makers, but for what it needs to serve one user with a password
at one address. What it prints goes to a file.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import bcrypt

from scripts.bench.processes import REPOSITORY
from scripts.bench.proxy import run_as_root
from scripts.bench.site import PASSWORD, USER, Command, Site

NGINX_DAV: Final = "/usr/lib/nginx/modules/ngx_http_dav_ext_module.so"
APACHE_MODULES: Final = "/usr/lib/apache2/modules"


AS_INSTALLED: Final = "import sys; sys.modules['httpx'] = None; from app.cli import main; main()"
"""Runs zotshelf without the package that only its tests need, and that aiobotocore loads if it can."""


def zotshelf(site: Site, **settings: str) -> Command:
    users = site.work / "users.htpasswd"
    users.write_bytes(USER.encode() + b":" + bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)) + b"\n")
    if isinstance(site.place, Path):
        storage, variables = f"file:{site.place}", {}
    else:
        storage = f"s3://{site.place.bucket.name}/{site.place.prefix}"
        variables = dict(site.place.bucket.variables)
    variables |= {
        "PYTHONPATH": str(REPOSITORY),
        "ZOTSHELF_STORAGE": storage,
        "ZOTSHELF_USERS_FILE": str(users),
        "ZOTSHELF_HOST": "::1",
        "ZOTSHELF_PORT": str(site.port),
    }
    variables |= {f"ZOTSHELF_{name.upper()}": value for name, value in settings.items()}
    return Command([site.program, "-c", AS_INSTALLED, "serve"], variables)


def rclone(*flags: str) -> Callable[[Site], Command]:
    def start(site: Site) -> Command:
        if isinstance(site.place, Path):
            remote, variables = str(site.place), {}
        else:
            bucket = site.place.bucket
            remote = f"store:{bucket.name}/{site.place.prefix}"
            variables = {
                "RCLONE_CONFIG_STORE_TYPE": "s3",
                "RCLONE_CONFIG_STORE_PROVIDER": "Other",
                "RCLONE_CONFIG_STORE_ENV_AUTH": "true",
                "RCLONE_CONFIG_STORE_ENDPOINT": bucket.endpoint,
                "RCLONE_CONFIG_STORE_REGION": bucket.region,
                **bucket.variables,
            }
        access = ("--addr", f"[::1]:{site.port}", "--user", USER, "--pass", PASSWORD)
        return Command([site.program, "serve", "webdav", remote, *access, *flags], variables)

    return start


def _sha_users(site: Site) -> Path:
    # nginx and Apache hash the password anew for every request: by SHA-1, the cheapest that both know.
    digest = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()
    users = site.work / "users"
    users.write_text(f"{USER}:{{SHA}}{digest}\n")
    return users


_NGINX: Final = """
load_module {module};
daemon off;
{user}
worker_processes 1;
pid nginx.pid;
error_log stderr error;
events {{ }}
http {{
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    access_log access.log;
    keepalive_requests 1000000;
    server {{
        listen [::1]:{port};
        root {folder};
        client_max_body_size 0;
        auth_basic benchmark;
        auth_basic_user_file {users};
        dav_methods PUT DELETE MKCOL COPY MOVE;
        dav_ext_methods PROPFIND OPTIONS;
    }}
}}
"""


def nginx(site: Site) -> Command:
    file = site.work / "nginx.conf"
    file.write_text(
        _NGINX.format(
            module=NGINX_DAV,
            user=run_as_root(),
            port=site.port,
            folder=site.folder,
            users=_sha_users(site),
        )
    )
    return Command([site.program, "-p", str(site.work), "-c", str(file), "-e", "stderr"], {})


_APACHE: Final = """
ServerRoot {work}
ServerName localhost
PidFile apache.pid
DefaultRuntimeDir {work}
Listen [::1]:{port}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authn_core_module {modules}/mod_authn_core.so
LoadModule authn_file_module {modules}/mod_authn_file.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule authz_user_module {modules}/mod_authz_user.so
LoadModule auth_basic_module {modules}/mod_auth_basic.so
LoadModule dav_module {modules}/mod_dav.so
LoadModule dav_fs_module {modules}/mod_dav_fs.so
{user}
ErrorLog error.log
LogFormat "%h %l %u %t \\"%r\\" %>s %b" common
CustomLog access.log common
MaxKeepAliveRequests 0
DavLockDB {work}/locks/db
DocumentRoot {folder}
<Directory {folder}>
    Dav On
    AuthType Basic
    AuthName benchmark
    AuthUserFile {users}
    Require valid-user
</Directory>
"""


def apache(site: Site) -> Command:
    (site.work / "locks").mkdir()
    user = ""
    if os.geteuid() == 0:
        # Apache's workers refuse to be root.
        user = "User www-data\nGroup www-data"
        for folder in (site.folder, site.work / "locks"):
            shutil.chown(folder, "www-data")
    file = site.work / "apache.conf"
    file.write_text(
        _APACHE.format(
            work=site.work,
            port=site.port,
            modules=APACHE_MODULES,
            user=user,
            folder=site.folder,
            users=_sha_users(site),
        )
    )
    return Command([site.program, "-f", str(file), "-DFOREGROUND"], {})


def wsgidav(site: Site) -> Command:
    file = site.work / "wsgidav.json"
    configuration = {
        "host": "::1",
        "port": site.port,
        "server": "cheroot",
        "provider_mapping": {"/": str(site.folder)},
        "simple_dc": {"user_mapping": {"*": {USER: {"password": PASSWORD}}}},
        "http_authenticator": {
            "accept_basic": True,
            "accept_digest": False,
            "default_to_digest": False,
            "domain_controller": None,
        },
    }
    file.write_text(json.dumps(configuration))
    return Command([site.program, "--config", str(file)], {})


def asgi_webdav(site: Site) -> Command:
    address = ("--host", "::1", "--port", str(site.port))
    return Command([site.program, *address, "--user", USER, PASSWORD, "--root-path", str(site.folder)], {})


def copyparty(site: Site) -> Command:
    return Command(
        [
            *(site.program, "-i", "::1", "-p", str(site.port), "-a", f"{USER}:{PASSWORD}"),
            *("-v", f"{site.folder}::A,{USER}", "--usernames", "--daw", "--dav-auth"),
        ],
        {},
    )
