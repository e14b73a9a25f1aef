"""singer-check-tap on what our tap writes: with its config alone, then from the state that this ended with."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from emulator import emulator
from environment import virtual_environment
from tools import quiet_environment, run

ROWS = {"Leads": 300, "Everything": 50, "Everything_Lines": 100, "Deals": 20}


def check_tap(zoho_crm: Path) -> None:
    """It reads every message and checks records against their SCHEMA.

    Its own way of starting the tap (`--tap`) does not wait for its reader to come to the end, so the
    messages are given to its stdin.
    """
    checker = virtual_environment("check-tap").with_name("singer-check-tap")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config, state = folder / "zoho.json", folder / "state.json"
        with emulator(zoho_crm, ROWS, "--write-config", config):
            zoho = {**json.loads(config.read_text()), "state_dir": str(folder / "state")}
            config.write_text(json.dumps(zoho))
            command = [zoho_crm.with_name("tap-zoho-crm"), "--config", config]
            for run_name, more in (("config only", []), ("from the state", ["--state", state])):
                messages = run([*command, *more])
                said = run([checker], input=messages, cwd=folder, env=quiet_environment(folder)).decode()
                counts = [" ".join(line.split()) for line in said.splitlines() if line.endswith("messages")]
                if "The output is valid." not in said or len(counts) != 3:
                    raise RuntimeError(f"singer-check-tap, {run_name}:\n{said}")
                print(f"  check-tap {run_name}: {', '.join(counts)}", flush=True)
                state.write_text(last_state(messages))


def last_state(messages: bytes) -> str:
    """The value of the last STATE."""
    states = [json.loads(line) for line in messages.splitlines() if line.startswith(b'{"type":"STATE"')]
    return json.dumps(states[-1]["value"])
