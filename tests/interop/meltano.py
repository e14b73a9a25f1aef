"""Our tap under Meltano, into a third-party target: a first run, then one from the stored state.

The project is `sample_configs/meltano`, its settings come from the environment.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import tempfile
from pathlib import Path

from emulator import ROOT, control, emulator, exact, truth
from environment import virtual_environment
from tools import quiet_environment, run, same, timed

SAMPLE = ROOT / "sample_configs" / "meltano" / "meltano.yml"
ROWS = {"Leads": 450, "Accounts": 120}
CHANGES = {"change": 40, "insert": 15, "delete": 5}
# What the sample takes out with `!`.
DESELECTED = {"Twitter", "Tag"}


class Project:
    """A Meltano project in a folder of its own."""

    def __init__(self, zoho_crm: Path, zoho: dict, folder: Path) -> None:
        self.folder = folder
        shutil.copy(SAMPLE, folder / "meltano.yml")
        self.meltano = virtual_environment("meltano").with_name("meltano")
        target = virtual_environment("target-jsonl").with_name("target-jsonl")
        # Only the programs under test and the target, not whatever else their folders hold.
        programs = folder / "programs"
        programs.mkdir()
        for path in (zoho_crm.with_name("tap-zoho-crm"), target):
            (programs / path.name).symlink_to(path)
        base = quiet_environment(folder)
        settings = {f"TAP_ZOHO_CRM_{key.upper()}": value for key, value in zoho.items()}
        self.environment = {**base, **settings, "PATH": f"{programs}{os.pathsep}{base['PATH']}"}

    def command(self, *arguments: str, **more: str) -> bytes:
        """Runs Meltano in the project."""
        return run([self.meltano, *arguments], cwd=self.folder, env={**self.environment, **more})

    def follow_the_guide(self) -> None:
        """Runs the commands of `docs/meltano.md`."""
        guide = (ROOT / "docs" / "meltano.md").read_text(encoding="utf-8")
        for block in guide.split("```sh meltano\n")[1:]:
            for line in block.split("```")[0].splitlines():
                program, *arguments = shlex.split(line)
                same(program, "meltano", "the program of the guide")
                self.command(*arguments)

    def sync(self, name: str) -> dict[str, list[dict]]:
        """`meltano run tap-zoho-crm target-jsonl`; the records that the target wrote, by stream."""
        out = self.folder / name
        out.mkdir()
        self.command("run", "tap-zoho-crm", "target-jsonl", TARGET_JSONL_DESTINATION_PATH=str(out))
        return {file.stem: [exact(line) for line in file.read_text().splitlines()] for file in out.glob("*.jsonl")}

    def bookmark(self, stream: str) -> str:
        """Where the stored state lets a stream go on."""
        state = json.loads(self.command("state", "get", "dev:tap-zoho-crm-to-target-jsonl"))
        return state["singer_state"]["bookmarks"][stream]["replication_key_value"]


def compare(url: str, module: str, records: list[dict]) -> None:
    """Every row of the emulator, with the values it has there, and none twice."""
    fields = sorted(records[0])
    if not DESELECTED.isdisjoint(fields):
        raise RuntimeError(f"one of {sorted(DESELECTED)} was written, though none is selected")
    rows = truth(url, module, fields)
    same(len(records), len(rows), f"rows of {module}")
    for record in records:
        same(record, rows.get(record["id"]), f"{module} {record['id']}")


def compare_changes(url: str, project: Project, first: dict, second: dict, changes: dict) -> None:
    """What the second run wrote is what changed, and with the first it is all there is."""
    for module in ROWS:
        rows = {record["id"]: record for record in [*first[module], *second.get(module, [])]}
        for gone in [record["id"] for record in second.get("deleted_records", [])]:
            rows.pop(gone, None)
        compare(url, module, list(rows.values()))
    written = {record["id"] for record in second["Leads"]}
    deleted = {record["id"] for record in second["deleted_records"]}
    same(sorted(deleted), sorted(changes["deleted"]), "the deleted Leads")
    expected = {*changes["changed"], *changes["inserted"]} - deleted
    if not expected <= written:
        raise RuntimeError(f"changed, but not written by the second run: {sorted(expected - written)}")
    # Rows of the bookmark's second come again: that is what a bookmark means to Singer.
    if len(written) >= len(first["Leads"]):
        raise RuntimeError(f"the second run wrote {len(written)} Leads for {len(expected)} changes")


def meltano(zoho_crm: Path) -> None:
    """Two runs with changes in between; rows and values against the emulator's truth."""
    virtual_environment("meltano"), virtual_environment("target-jsonl")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "zoho.json"
        with emulator(zoho_crm, ROWS, "--write-config", config) as url:
            zoho = {**json.loads(config.read_text()), "state_dir": str(folder / "state")}
            project = Project(zoho_crm, zoho, folder)
            with timed("meltano config test, select, invoke"):
                project.follow_the_guide()
            with timed("meltano run, first time"):
                first = project.sync("first")
            for module in ROWS:
                compare(url, module, first[module])
            before = project.bookmark("Leads")
            control(url, "clock", {"advance_seconds": 3600})
            changes = control(url, "mutate", {"module": "Leads", "seed": 5, **CHANGES})
            with timed("meltano run, from the stored state"):
                second = project.sync("second")
            compare_changes(url, project, first, second, changes)
            if project.bookmark("Leads") <= before:
                raise RuntimeError(f"the bookmark stays at {before}")
            written = {stream: len(records) for stream, records in sorted(second.items())}
    print(f"  meltano second run wrote {json.dumps(written)}")
