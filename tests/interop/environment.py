"""Virtual environments for the steps, kept between runs, one per set of pinned requirements."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Iterator

HERE = Path(__file__).resolve().parent
BUILD = HERE / "constraints-build.txt"
UV = HERE / "constraints-uv.txt"


class Missing(Exception):
    """Something that a step needs is not on this machine."""


def python(version: str) -> str:
    """The interpreter of that version."""
    if "{}.{}".format(*sys.version_info[:2]) == version:
        return sys.executable
    found = shutil.which(f"python{version}")
    if found is None:
        raise Missing(f"Python {version} (looked for `python{version}` on PATH)")
    return found


def cache() -> Path:
    """Where virtual environments are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "zoho-crm-connector" / "interop"


@contextlib.contextmanager
def alone(name: str) -> Iterator[None]:
    """Keeps a second run from filling the same folder at the same time."""
    cache().mkdir(parents=True, exist_ok=True)
    with open(cache() / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def virtual_environment(step: str, version: str = "3.11") -> Path:
    """The interpreter of an environment with `requirements-<step>.txt` installed."""
    requirements = HERE / f"requirements-{step}.txt"
    pins = version.encode() + b"\n" + requirements.read_bytes() + BUILD.read_bytes()
    folder = cache() / f"{step}-{hashlib.sha256(pins).hexdigest()[:16]}"
    with alone(folder.name):
        # Written last, so that an installation cut short is not taken for a whole one.
        ready = folder / "ready"
        if not ready.exists():
            shutil.rmtree(folder, ignore_errors=True)
            install(folder, requirements, version)
            ready.touch()
    return folder / "bin" / "python"


def install(folder: Path, requirements: Path, version: str) -> None:
    """Makes an environment with exactly the pinned packages."""
    made = subprocess.run([python(version), "-m", "venv", str(folder)])
    if made.returncode != 0:
        raise Missing(f"the module `venv` of Python {version} (Debian's package python{version}-venv)")
    # What builds the few packages that come as source is pinned, too.
    command = [str(uv()), "pip", "install", "--quiet", "--python", str(folder / "bin" / "python")]
    command += ["--build-constraints", str(BUILD), "--requirements", str(requirements)]
    if subprocess.run(command).returncode != 0:
        raise Missing(f"the packages of `{requirements.name}` (is the package index reachable?)")


def uv() -> Path:
    """The installer, in an environment of its own."""
    folder = cache() / f"uv-{hashlib.sha256(UV.read_bytes()).hexdigest()[:16]}"
    with alone(folder.name):
        ready = folder / "ready"
        if not ready.exists():
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            command = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
            if subprocess.run([*command, "-r", str(UV)]).returncode != 0:
                raise Missing("uv (is the package index reachable?)")
            ready.touch()
    return folder / "bin" / "uv"
