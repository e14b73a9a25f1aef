"""SIGTERM while Meltano runs: the state it keeps is no older than what the loader confirmed before the
signal, and the runs after it lose nothing.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from emulator import control, emulator, exact, truth
from environment import HERE
from meltano import Project
from tools import TIMEOUT_SECONDS, same, timed

ROWS = {"Leads": 3_000}
ROUNDS = 3
# Time Meltano needs to put what it read into its database; a confirmed state may be that old.
LAG_SECONDS = 0.5
LOADER = """    - name: recorder
      namespace: recorder
      executable: recorder
"""
JOB = "dev:tap-zoho-crm-to-recorder"


def project_of(zoho_crm: Path, zoho: dict, folder: Path) -> Project:
    """The sample project with the recorder as its loader and Leads as its stream."""
    project = Project(zoho_crm, zoho, folder)
    config = folder / "meltano.yml"
    text = config.read_text().replace("        - Accounts.*\n", "").replace("        - deleted_records.*\n", "")
    config.write_text(text.rstrip("\n") + "\n" + LOADER)
    program = folder / "programs" / "recorder"
    shutil.copy(HERE / "recorder.py", program)
    program.write_text(program.read_text().replace("#!/usr/bin/env python3", f"#!{sys.executable}", 1))
    program.chmod(0o755)
    project.environment["RECORDER_FOLDER"] = str(folder)
    return project


def confirmed(folder: Path) -> list[tuple[float, dict]]:
    """The states that the loader printed, and when."""
    path = folder / "states.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(float(time), json.loads(value)) for time, value in (line.split(" ", 1) for line in lines)]


def stopped(project: Project, dice: random.Random) -> float | None:
    """Starts a run and sends it SIGTERM at a random moment after its first state; when that was."""
    command = [str(project.meltano), "run", "tap-zoho-crm", "recorder"]
    before = len(confirmed(project.folder))
    with open(project.folder / "meltano.log", "ab") as log:
        run = subprocess.Popen(command, cwd=project.folder, env=project.environment, stdout=log, stderr=log)
        while len(confirmed(project.folder)) == before and run.poll() is None:
            time.sleep(0.02)
        time.sleep(dice.uniform(0, 1.5))
        if run.poll() is not None:
            return None
        run.send_signal(signal.SIGTERM)
        at = time.time()
        run.wait(timeout=TIMEOUT_SECONDS)
    return at


def check_state(project: Project, at: float) -> None:
    """The stored state is one that the loader printed, and none before the signal was printed later."""
    stored = json.loads(project.command("state", "get", JOB))["singer_state"]
    printed = confirmed(project.folder)
    places = [place for place, (_, value) in enumerate(printed) if value == stored]
    if not places:
        raise RuntimeError(f"the stored state was never confirmed: {json.dumps(stored)}")
    last = max((place for place, (when, _) in enumerate(printed) if when < at - LAG_SECONDS), default=0)
    if places[-1] < last:
        late = at - printed[last][0]
        raise RuntimeError(f"the stored state is {last - places[-1]} behind one that was confirmed {late:.2f} s before")


def sigterm(zoho_crm: Path) -> None:
    """Runs that are stopped, then one that is not; every row is there."""
    seed = int(os.environ.get("SIGTERM_SEED", str(int(time.time()))))
    print(f"  SIGTERM_SEED={seed}", flush=True)
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "zoho.json"
        with emulator(zoho_crm, ROWS, "--write-config", config) as url:
            zoho = {**json.loads(config.read_text()), "state_dir": str(folder / "state")}
            zoho |= {"method": "records", "state_rows": "200"}
            project = project_of(zoho_crm, zoho, folder)
            slow = {"match": {"path_contains": "/crm/v8/Leads", "times": 0}, "action": {"kind": "delay", "milliseconds": 150}}
            hits = 0
            for _ in range(ROUNDS):
                control(url, "faults", [slow])
                with timed("sigterm meltano run, stopped"):
                    at = stopped(project, dice)
                if at is not None:
                    check_state(project, at)
                    hits += 1
            if hits == 0:
                raise RuntimeError("every run ended before its signal")
            with timed("sigterm meltano run, to its end"):
                project.command("run", "tap-zoho-crm", "recorder")
            messages = [exact(line) for line in (folder / "records.jsonl").read_text().splitlines()]
            records = [message["record"] for message in messages if message["type"] == "RECORD"]
            rows = truth(url, "Leads", sorted(records[0]))
            found = {record["id"]: record for record in records}
            same(sorted(set(rows) - set(found)), [], "Leads that are lost")
            for identity, row in rows.items():
                same(found[identity], row, f"Lead {identity}")
            print(f"  sigterm {hits} runs stopped, {len(records)} records for {len(rows)} rows, none lost")
