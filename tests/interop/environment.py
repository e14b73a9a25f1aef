"""Virtual environments for the steps, kept between runs, one per set of pinned requirements."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


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


def virtual_environment(step: str, version: str = "3.11") -> Path:
    """The interpreter of an environment with `requirements-<step>.txt` installed."""
    requirements = HERE / f"requirements-{step}.txt"
    digest = hashlib.sha256(version.encode() + b"\n" + requirements.read_bytes()).hexdigest()[:16]
    folder = cache() / f"{step}-{digest}"
    interpreter = folder / "bin" / "python"
    ready = folder / "ready"
    if not ready.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([python(version), "-m", "venv", str(folder)], check=True)
        install = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run([*install, "-r", str(requirements)])
        if done.returncode != 0:
            raise Missing(f"the packages of `{requirements.name}` (is the package index reachable?)")
        # Written last, so that an installation cut short is not taken for a whole one.
        ready.touch()
    return interpreter
