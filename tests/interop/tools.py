"""Runs programs so that a failure shows their own words, and reads what a tap wrote."""

from __future__ import annotations

import json
import os
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from emulator import exact

TIMEOUT_SECONDS = 300


def run(command: list, **more) -> bytes:
    """What a program wrote to stdout; its stderr is shown when it fails."""
    done = subprocess.run(words(command), capture_output=True, **{"timeout": TIMEOUT_SECONDS, **more})
    if done.returncode != 0:
        raise failure(command[0], done.returncode, done.stderr)
    return done.stdout


def piped(first: list, second: list, folder: Path) -> bytes:
    """`first | second`, both in that folder; what the second wrote to stdout."""
    errors = [folder / f"{Path(command[0]).name}.log" for command in (first, second)]
    with open(errors[0], "wb") as first_log, open(errors[1], "wb") as second_log:
        pipe = subprocess.PIPE
        source = subprocess.Popen(words(first), stdout=pipe, stderr=first_log, cwd=folder)
        sink = subprocess.Popen(words(second), stdin=source.stdout, stdout=pipe, stderr=second_log, cwd=folder)
        source.stdout.close()
        out, _ = sink.communicate(timeout=TIMEOUT_SECONDS)
        codes = [source.wait(timeout=TIMEOUT_SECONDS), sink.returncode]
    if any(codes):
        # The second's own failure closes the pipe, so that the first one's is only what followed.
        at = 1 if codes[1] else 0
        raise failure((first, second)[at][0], codes[at], errors[at].read_bytes())
    return out


def words(command: list) -> list[str]:
    return [str(part) for part in command]


def failure(program: str | Path, code: int, stderr: bytes) -> RuntimeError:
    said = stderr.decode(errors="replace").strip()
    return RuntimeError(f"`{Path(program).name}` exits with {code}:\n{said}")


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Prints how long a part of a step took."""
    start = time.monotonic()
    yield
    print(f"  {name:42} {time.monotonic() - start:6.2f} s", flush=True)


def select(catalog: bytes, streams: list[str]) -> dict:
    """A catalog with these streams selected and no other."""
    value = json.loads(catalog)
    found = {stream["tap_stream_id"] for stream in value["streams"]}
    if not found.issuperset(streams):
        raise RuntimeError(f"the catalog has {sorted(found)}, not {streams}")
    for stream in value["streams"]:
        for entry in stream["metadata"]:
            if not entry["breadcrumb"]:
                entry["metadata"]["selected"] = stream["tap_stream_id"] in streams
    return value


def records(lines: bytes, stream: str) -> list[dict]:
    """The records of a stream in Singer messages."""
    messages = [exact(line) for line in lines.decode().splitlines()]
    return [message["record"] for message in messages if message["type"] == "RECORD" and message["stream"] == stream]


def same(found: object, expected: object, what: str) -> None:
    """Fails with the first difference."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in {**expected, **found}:
            if found.get(key) != expected.get(key):
                raise RuntimeError(f"{what}, `{key}`: {found.get(key)!r}, expected {expected.get(key)!r}")
    if found != expected:
        raise RuntimeError(f"{what}: {found!r}, expected {expected!r}")


def program(name: str, beside: Path) -> Path:
    """Another of our programs."""
    return beside.with_name(name)


def quiet_environment(folder: Path) -> dict[str, str]:
    """An environment without the user's own settings of third-party tools."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "HOME": str(folder), "NO_COLOR": "1"}
