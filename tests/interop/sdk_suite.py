"""The Meltano SDK's standard suites for taps and targets, on our programs; every row of the target's against the emulator."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

from emulator import emulator, truth
from environment import HERE, virtual_environment
from tools import program, quiet_environment, same, timed

ROWS = {"Leads": 30, "Everything": 40, "Everything_Lines": 60, "Deals": 20}
STREAMS = ["Leads", "Everything", "Everything_Lines", "Deals", "users", "currencies"]

# Fields for whatever the suite's streams hold; each stream gets a module of its own.
FIELDS = [
    {"api_name": "Key", "data_type": "text", "length": 100, "unique": True, "custom": True},
    {"api_name": "Text", "data_type": "text", "length": 255, "custom": True},
    {"api_name": "More", "data_type": "text", "length": 255, "custom": True},
    {"api_name": "Metric", "data_type": "integer", "length": 9, "custom": True},
    {"api_name": "Flag", "data_type": "boolean", "custom": True},
]


def stream(fields: dict, operation: str = "upsert") -> dict:
    found = {"operation": operation, "fields": fields}
    return found if operation == "insert" else {**found, "match_on": "Key"}


# Where the rows of the suite's streams go.
TARGETS = {
    "test_array_data": stream({"id": "Key"}),
    "ForecastingTypeToCategory": stream({"Id": "Key", "IsDeleted": "Flag"}),
    "TestCamelcase": stream({"Id": "Key", "clientName": "Text"}),
    "test_duplicate_records": stream({"id": "Key", "metric": "Metric"}),
    "test_strings": stream({"id": "Key", "info": "Text"}),
    "test_strings_in_objects": stream({"id": "Key", "/info/name": "Text", "/info/value": "More"}),
    "test_strings_in_arrays": stream({"id": "Key", "/strings/0": "Text"}),
    "test_no_pk": stream({"id": "Text", "metric": "Metric"}, "insert"),
    "test_optional_attributes": stream({"id": "Key", "optional": "Text"}),
    "example_stream": stream({"id": "Key", "name": "Text"}),
    "test_record_before_schema": stream({"id": "Key", "metric": "Metric"}),
    "test_record_missing_key_property": stream({"id": "Key", "metric": "Metric"}),
    "record_missing_fields": stream({"id": "Key", "optional": "Text"}),
    "test_object_schema_with_properties": stream({"/object_store/metric": "Metric"}, "insert"),
    "test_object_schema_no_properties": stream({"/object_store/metric": "Metric"}, "insert"),
    "test_schema_updates": stream({"id": "Key", "a1": "Metric", "a2": "Text"}),
    "sdk_batches": stream({"id": "Key", "text": "Text"}),
    "test:SpecialChars!in?attributes": stream({"_id": "Key", "/d/agent:type": "Text", "/d/agent:os:version": "More"}),
}

MODULES = {name: f"Suite_{number}" for number, name in enumerate(TARGETS, 1)}



def row(**values: str | int | None) -> dict:
    return {"Text": None, "More": None, "Metric": None, **values}


# What has to be in the emulator afterwards, of streams whose rows tell something.
EXPECTED = {
    "test_duplicate_records": [row(Metric=100), row(Metric=20)],
    "test_optional_attributes": [row(Text="This is optional"), row(), row(Text="Also optional"), row()],
    "record_missing_fields": [row(Text="now you see me"), row()],
    "test_no_pk": [row(Text="1", Metric=11), row(Text="2", Metric=22), row(Text="3", Metric=33)],
    "test_object_schema_with_properties": [row(Metric=187), row(Metric=203)],
    "test_object_schema_no_properties": [row(Metric=1), row(Metric=2)],
    "test_schema_updates": [row(Text=f"string{number}", Metric=100 + number) for number in range(1, 7)],
    "sdk_batches": [row(Text=f"row {number} é") for number in range(25)],
    "test:SpecialChars!in?attributes": [row(Text="desktop", More="10.13.1")],
}


def sdk_suite(zoho_crm: Path) -> None:
    """Both suites by pytest, which starts our programs for each test."""
    pytest = virtual_environment("sdk-suite").with_name("pytest")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        schema = folder / "schema.json"
        modules = [{"api_name": name, "generated_type": "custom", "fields": FIELDS} for name in MODULES.values()]
        write(schema, {"modules": modules})
        settings = folder / "zoho.json"
        with emulator(zoho_crm, ROWS, "--schema", schema, "--write-config", settings) as url:
            zoho = {**json.loads(settings.read_text()), "state_dir": str(folder / "state")}
            write(folder / "tap.json", {**zoho, "streams": {"include": STREAMS}})
            streams = {name: {**target, "module": MODULES[name]} for name, target in TARGETS.items()}
            write(folder / "target.json", {**zoho, "streams": streams, "results": str(folder / "results.jsonl")})
            environment = {
                **quiet_environment(folder),
                "PYTHONDONTWRITEBYTECODE": "1",
                "TAP": str(program("tap-zoho-crm", zoho_crm)),
                "TARGET": str(program("target-zoho-crm", zoho_crm)),
                "FOLDER": str(folder),
            }
            for suite in ("tap", "target"):
                with timed(f"SDK suite of {suite}s"):
                    check(pytest, suite, environment)
            for name, rows in EXPECTED.items():
                compare(name, list(truth(url, MODULES[name], ["id", "Text", "More", "Metric"]).values()), rows)
            found = truth(url, MODULES["test_strings"], ["id", "Text"]).values()
            same(["简单的字串" in row.values() for row in found].count(True), 1, "a row of test_strings")


def write(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value))


def check(pytest: Path, suite: str, environment: dict[str, str]) -> None:
    """Fails with pytest's own words."""
    tests = HERE / f"sdk_suite_{suite}.py"
    command = [str(pytest), "--quiet", "--no-header", "-p", "no:cacheprovider", "-W", "ignore", str(tests)]
    done = subprocess.run(command, capture_output=True, env={**os.environ, **environment}, timeout=600)
    said = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        raise RuntimeError(f"pytest on `{tests.name}`:\n{said}{done.stderr.decode(errors='replace')}")
    print(f"  {said.strip().splitlines()[-1]}", flush=True)


def compare(name: str, found: list[dict], expected: list[dict]) -> None:
    """The rows of a stream, in the order in which they came first."""
    found = [{field: value for field, value in row.items() if field != "id"} for row in found]
    same([{**row(), **one} for one in found], expected, name)
