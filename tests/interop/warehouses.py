"""Our tap into warehouses, by third-party targets: a first run, then one from the state they confirmed.

Counts and values are compared with the emulator's truth, and with what the guide's view of today holds.
"""

from __future__ import annotations

import json
import re
import tempfile
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Callable

from emulator import ROOT, control, emulator, exact, truth
from environment import virtual_environment
from postgres import Database, database
from tools import piped, program, run, same, select, timed

ROWS = {"Leads": 450, "Accounts": 120}
CHANGES = {"change": 40, "insert": 15, "delete": 5}
SCHEMA = "zoho"

Rows = dict[str, dict]
# What a target makes of a value.
Write = Callable[[object], object]


def plain(value: object) -> object:
    """A value as warehouses can be compared by: instants without their zone's name, numbers as floats."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, (int, float, Decimal)):
        return float(value)
    if isinstance(value, str):
        try:
            instant = datetime.fromisoformat(value)
        except ValueError:
            # Some targets load a list as its JSON.
            return json.loads(value) if value.startswith("[") else value
        return instant.replace(tzinfo=None).isoformat() if "T" in value or ":" in value else value
    return value


def compare(found: list[dict], expected: Rows, what: str, written: Write) -> None:
    """Every row, each once, with its values; names in lower case, as some targets write them."""
    rows = {row["id"]: {key.lower(): plain(value) for key, value in row.items()} for row in found}
    same(len(found), len(rows), f"{what}: rows, each once")
    same(sorted(set(expected) - set(rows)), [], f"{what}: rows that are missing")
    same(sorted(set(rows) - set(expected)), [], f"{what}: rows that are too many")
    for identity, row in expected.items():
        expected_row = {key.lower(): plain(written(value)) for key, value in row.items()}
        loaded = {key: value for key, value in rows[identity].items() if key in expected_row}
        same(loaded, expected_row, f"{what} {identity}")


class Sync:
    """Tap and target in a folder of their own, with a state between runs."""

    def __init__(self, zoho_crm: Path, zoho: Path, target: list, folder: Path) -> None:
        self.folder, self.target = folder, target
        self.tap = [program("tap-zoho-crm", zoho_crm), "--config", zoho]
        self.catalog = folder / "catalog.json"
        selected = select(run([*self.tap, "--discover"]), [*ROWS, "deleted_records"])
        self.catalog.write_text(json.dumps(selected))
        self.state = folder / "state.json"
        self.state.write_text("")

    def fields(self, module: str) -> list[str]:
        streams = json.loads(self.catalog.read_text())["streams"]
        found = next(stream for stream in streams if stream["tap_stream_id"] == module)
        entries = [entry for entry in found["metadata"] if entry["breadcrumb"]]
        known = {entry["breadcrumb"][-1]: entry["metadata"] for entry in entries}
        kept = lambda data: data.get("inclusion") == "automatic" or data.get("selected-by-default", True)
        usable = lambda data: data.get("inclusion") != "unsupported"
        return [name for name in found["schema"]["properties"] if usable(known.get(name, {})) and kept(known.get(name, {}))]

    def run(self) -> None:
        source = [*self.tap, "--catalog", self.catalog, "--state", self.state]
        confirmed = piped(source, self.target, self.folder).splitlines()
        if not confirmed:
            raise RuntimeError("the target confirmed no state")
        self.state.write_bytes(confirmed[-1])


def as_it_is(value: object) -> object:
    return value


def one_line(value: object) -> object:
    """pipelinewise-target-postgres writes control characters, line breaks first, as JSON's escapes."""
    if not isinstance(value, str):
        return value
    return re.sub(r'\\(["\\])', r"\1", json.dumps(value, ensure_ascii=False)[1:-1])


def twice(
    zoho_crm: Path,
    target: list,
    folder: Path,
    load: Callable[[str], list[dict]],
    name: str,
    written: Write = as_it_is,
) -> set[str]:
    """Two runs with changes in between; the ids of the Leads that are left."""
    zoho = folder / "zoho.json"
    with emulator(zoho_crm, ROWS, "--write-config", zoho) as url:
        zoho.write_text(json.dumps({**json.loads(zoho.read_text()), "state_dir": str(folder / "state")}))
        sync = Sync(zoho_crm, zoho, target, folder)
        with timed(f"warehouses {name}, first time"):
            sync.run()
        for module in ROWS:
            compare(load(module), truth(url, module, sync.fields(module)), f"{name}: {module}", written)
        control(url, "clock", {"advance_seconds": 3600})
        changes = control(url, "mutate", {"module": "Leads", "seed": 5, **CHANGES})
        with timed(f"warehouses {name}, from the confirmed state"):
            sync.run()
        now = truth(url, "Leads", sync.fields("Leads"))
        loaded = load("Leads")
        compare([row for row in loaded if row["id"] in now], now, f"{name}: Leads, second run", written)
        gone = sorted(row["id"] for row in load("deleted_records"))
        same(gone, sorted(changes["deleted"]), f"{name}: deleted_records")
        return set(now)


def duckdb(zoho_crm: Path) -> None:
    environment = virtual_environment("target-duckdb")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file, config = folder / "warehouse.duckdb", folder / "duckdb.json"
        config.write_text(json.dumps({"filepath": str(file), "default_target_schema": SCHEMA}))
        reader = (
            "import duckdb, json, sys\n"
            "found = duckdb.connect(sys.argv[1], read_only=True).execute(f'select * from {sys.argv[2]}')\n"
            "names = [column[0] for column in found.description]\n"
            "for row in found.fetchall(): print(json.dumps(dict(zip(names, row)), default=str))\n"
        )

        def load(stream: str) -> list[dict]:
            out = run([environment, "-c", reader, file, f"{SCHEMA}.{stream.lower()}"])
            return [exact(line) for line in out.decode().splitlines()]

        twice(zoho_crm, [environment.with_name("target-duckdb"), "--config", config], folder, load, "DuckDB")


def guide_view() -> str:
    """The view of `docs/warehouses.md`."""
    text = (ROOT / "docs" / "warehouses.md").read_text(encoding="utf-8")
    return text.split("```sql file=current.sql\n")[1].split("```")[0]


def into_postgres(
    zoho_crm: Path, server: Database, environment: str, more: dict, name: Callable[[str], str], written: Write = as_it_is
) -> set[str]:
    """Loads by the `target-postgres` of an environment; the ids of the Leads that are left."""
    target = virtual_environment(environment).with_name("target-postgres")
    settings = {"host": "127.0.0.1", "port": server.port, "user": server.user, "password": server.password}

    def load(stream: str) -> list[dict]:
        lines = server.query(f"select row_to_json(t) from {more['default_target_schema']}.{name(stream)} t")
        return [exact(line) for line in lines.decode().splitlines()]

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        config = folder / "postgres.json"
        config.write_text(json.dumps({**settings, **more}))
        return twice(zoho_crm, [target, "--config", config], folder, load, environment, written)


def postgres(zoho_crm: Path) -> None:
    with database() as server:
        more = {"dbname": "postgres", "default_target_schema": "pipelinewise"}
        into_postgres(zoho_crm, server, "pipelinewise-postgres", more, lambda stream: f'"{stream.lower()}"', one_line)
        more = {"database": "postgres", "default_target_schema": SCHEMA}
        left = into_postgres(zoho_crm, server, "target-postgres", more, lambda stream: f'"{stream}"')
        server.query(guide_view())
        shown = server.query(f"select id from {SCHEMA}.current_leads").decode().split()
        same(sorted(shown), sorted(left), "the guide's view of today's Leads")


def warehouses(zoho_crm: Path) -> None:
    """DuckDB and PostgreSQL."""
    for environment in ("target-duckdb", "target-postgres", "pipelinewise-postgres"):
        virtual_environment(environment)
    duckdb(zoho_crm)
    postgres(zoho_crm)
