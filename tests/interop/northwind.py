"""Northwind from PostgreSQL into Accounts and Contacts, by a third-party tap, and out again by ours.

    tap-postgres --config … --catalog … | target-zoho-crm --config zoho.json --config target.json

Schema and mapping are those of `sample_configs/northwind`. Every value is compared with the CSV files.
"""

from __future__ import annotations

import csv
import json
import os
import re
import tempfile
from pathlib import Path

from emulator import ROOT, emulator
from environment import HERE, virtual_environment
from postgres import Database, database
from tools import piped, program, records, run, same, select, timed

DATA = ROOT / "tests" / "data" / "northwind"
SAMPLE = ROOT / "sample_configs" / "northwind"
CHECKED_IN = DATA / "customers.singer"
STREAM = "public-customers"
# Set to write `customers.singer` anew instead of comparing with it.
UPDATE = "UPDATE_SAMPLES"


def customers() -> list[dict[str, str | None]]:
    """The CSV rows; an empty cell is a null."""
    with open(DATA / "customers.csv", encoding="utf-8", newline="") as file:
        return [{name: value or None for name, value in row.items()} for row in csv.DictReader(file)]


def mapping() -> dict[str, dict]:
    """The fields of the sample mapping, by module."""
    streams = json.loads((SAMPLE / "target.json").read_text())["streams"]
    return {target["module"]: target["fields"] for target in streams[STREAM]}


def tap_postgres(server: Database, folder: Path) -> list:
    """The command that reads `customers`, its config and catalog written."""
    tap = virtual_environment("tap-postgres").with_name("tap-postgres")
    settings = {"host": "127.0.0.1", "port": server.port, "user": server.user, "password": server.password}
    config = folder / "postgres.json"
    config.write_text(json.dumps({**settings, "database": "postgres", "filter_schemas": ["public"]}))
    catalog = folder / "postgres-catalog.json"
    catalog.write_text(json.dumps(select(run([tap, "--config", config, "--discover"]), [STREAM])))
    return [tap, "--config", config, "--catalog", catalog]


def without_times(lines: bytes) -> str:
    """A tap's messages, byte for byte, but for what differs from run to run."""
    return re.sub(r', ?"time_extracted": ?"[^"]*"', "", lines.decode())


def compare_checked_in(lines: bytes) -> None:
    """The file that `make test` uses is what the tap writes today."""
    if os.environ.get(UPDATE):
        CHECKED_IN.write_text(without_times(lines), encoding="utf-8")
    elif without_times(lines) != CHECKED_IN.read_text(encoding="utf-8"):
        file = CHECKED_IN.relative_to(ROOT)
        raise RuntimeError(f"`{file}` is not what tap-postgres writes; {UPDATE}=1 writes it anew")


def compare(accounts: list[dict], contacts: list[dict]) -> int:
    """Compares records with the CSV; how many values there were."""
    rows = {row["Id"]: row for row in customers()}
    ids = {account["Northwind_Id"]: account["id"] for account in accounts}
    compared = 0
    for module, found in (("Accounts", accounts), ("Contacts", contacts)):
        same(sorted(record["Northwind_Id"] for record in found), sorted(rows), f"the rows of {module}")
        for record in found:
            row = rows[record["Northwind_Id"]]
            for name, fields in mapping()[module].items():
                for field in fields if isinstance(fields, list) else [fields]:
                    is_lookup = isinstance(field, dict)
                    to, expected = (field["to"], ids[row[name]]) if is_lookup else (field, row[name])
                    same(record[to], expected, f"{module} {row['Id']}, `{to}`")
                    compared += 1
    return compared


def read_back(tap: Path, zoho: Path, folder: Path) -> int:
    """Both modules by our own tap, compared with the CSV."""
    catalog = folder / "zoho-catalog.json"
    catalog.write_text(json.dumps(select(run([tap, "--config", zoho, "--discover"]), ["Accounts", "Contacts"])))
    out = run([tap, "--config", zoho, "--catalog", catalog])
    return compare(records(out, "Accounts"), records(out, "Contacts"))


def northwind(zoho_crm: Path) -> None:
    """The whole way, twice: the second load finds every record again."""
    tap, target = program("tap-zoho-crm", zoho_crm), program("target-zoho-crm", zoho_crm)
    virtual_environment("tap-postgres")
    config = SAMPLE / "target.json"
    with tempfile.TemporaryDirectory() as name, database() as server:
        folder = Path(name)
        zoho = folder / "zoho.json"
        with timed("northwind load all tables"):
            server.run(HERE / "northwind.sql", DATA)
        with timed("northwind tap-postgres"):
            source = tap_postgres(server, folder)
            compare_checked_in(run(source))
        with emulator(zoho_crm, {}, "--schema", SAMPLE / "schema.json", "--write-config", zoho):
            settings = {**json.loads(zoho.read_text()), "state_dir": str(folder / "state")}
            zoho.write_text(json.dumps(settings))
            for time in ("first", "second"):
                with timed(f"northwind tap-postgres | target, {time} time"):
                    state = piped(source, [target, "--config", zoho, "--config", config], folder)
                same(json.loads(state.splitlines()[-1]), {"bookmarks": {STREAM: {}}}, "the last STATE")
                with timed("northwind tap and compare"):
                    compared = read_back(tap, zoho, folder)
    print(f"  northwind {compared} values are those of the CSV")
