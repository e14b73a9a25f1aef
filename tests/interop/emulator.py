"""Starts `zoho-crm emulate` on a free port and stops it again; its control endpoints."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from decimal import Decimal
from pathlib import Path
from typing import Iterator

from environment import Missing

ROOT = Path(__file__).resolve().parents[2]


def binary(given: str | None) -> Path:
    """The program under test: the one named, or the newest one built."""
    if given is not None:
        return Path(given).resolve()
    target = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
    built = [target / profile / "zoho-crm" for profile in ("release", "debug")]
    built = [path for path in built if path.exists()]
    if not built:
        raise Missing("the program `zoho-crm` (build it with `cargo build`)")
    return max(built, key=lambda path: path.stat().st_mtime)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/__emulator/stats", timeout=1).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@contextlib.contextmanager
def emulator(program: Path, rows: dict[str, int], *more: str | Path) -> Iterator[str]:
    """The base address of an emulator with that many rows per module, and more arguments."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    counts = [part for name, count in rows.items() for part in ("--rows", f"{name}={count}")]
    with tempfile.TemporaryFile() as log:
        command = [str(program), "emulate", "--listen", f"127.0.0.1:{port}", "--seed", "1", *counts, *map(str, more)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            for _ in range(200):
                if answers(url):
                    break
                if process.poll() is not None:
                    log.seek(0)
                    raise RuntimeError(f"the emulator ended: {log.read().decode(errors='replace')}")
                time.sleep(0.05)
            else:
                raise RuntimeError("the emulator does not answer")
            yield url
        finally:
            process.terminate()
            process.wait(timeout=10)


def control(url: str, name: str, body: dict) -> dict:
    """Calls a control endpoint: changes as if by other people, the clock and so on."""
    request = urllib.request.Request(
        f"{url}/__emulator/{name}", data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read() or b"{}")


def truth(url: str, module: str, fields: list[str]) -> dict[str, dict]:
    """What the emulator holds, by id."""
    query = urllib.parse.urlencode({"module": module, "fields": ",".join(fields)}, safe=",")
    with urllib.request.urlopen(f"{url}/__emulator/dump?{query}") as answer:
        rows = [exact(line) for line in answer.read().decode().splitlines()]
    return {row["id"]: row for row in rows}


def exact(text: str) -> dict:
    """JSON with its decimals as they are written."""
    return json.loads(text, parse_float=Decimal)


def zgid(url: str) -> str:
    """The number that the upload call wants in `X-CRM-ORG`."""
    form = (
        b"grant_type=refresh_token&client_id=1000.EMULATOR"
        b"&client_secret=emulator-secret&refresh_token=1000.emulator.refresh"
    )
    token = json.load(urllib.request.urlopen(f"{url}/oauth/v2/token", data=form))["access_token"]
    request = urllib.request.Request(f"{url}/crm/v8/org", headers={"Authorization": f"Zoho-oauthtoken {token}"})
    return json.load(urllib.request.urlopen(request))["org"][0]["zgid"]
