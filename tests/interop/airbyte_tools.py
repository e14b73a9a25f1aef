"""Airbyte's own tools on our source and destination, and a source of theirs into our destination.

The file is not named `airbyte.py`, because PyAirbyte's package is.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import Iterator

from emulator import ROOT, control, emulator, exact, truth
from environment import HERE, virtual_environment
from tools import program, quiet_environment, run, same, timed
from warehouses import plain

ROWS = {"Leads": 300, "Everything": 60, "Contacts": 40}
READ = ["Leads", "Everything", "users", "deleted_records"]
# PyAirbyte asks for `overwrite` where a stream has no key, which our destination refuses.
WITHOUT_KEY = "schema_with_no_primary_key"
FAKER = {"count": 50, "seed": 1, "parallelism": 1, "records_per_slice": 100}


def airbyte(zoho_crm: Path) -> None:
    """All of it, each with what the tool said when it fails."""
    for name in ("airbyte-models", "pyairbyte", "airbyte-cdk", "airbyte-faker"):
        virtual_environment(name)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "zoho.json"
        with emulator(zoho_crm, ROWS, "--write-config", config) as url:
            zoho = {**json.loads(config.read_text()), "state_dir": str(folder / "state")}
            config.write_text(json.dumps(zoho))
            pair = Pair(zoho_crm, folder, config, url)
            pair.lines()
            pair.pyairbyte()
            pair.validate()
            pair.smoke_test()
            pair.faker()
            pair.suite()


class Pair:
    """Our two programs, and a Zoho for them."""

    def __init__(self, zoho_crm: Path, folder: Path, config: Path, url: str) -> None:
        self.folder, self.config, self.url = folder, config, url
        self.source, self.destination = (program(name, zoho_crm) for name in ("source-zoho-crm", "destination-zoho-crm"))
        # Nothing is sent to anybody, and no registry is asked.
        self.environment = {
            **quiet_environment(folder),
            "DO_NOT_TRACK": "1",
            "AIRBYTE_OFFLINE_MODE": "1",
            "AIRBYTE_NO_UPDATE": "1",
        }

    def written(self, name: str, value: object) -> Path:
        path = self.folder / name
        path.write_text(json.dumps(value))
        return path

    def settings(self, name: str, more: dict) -> Path:
        return self.written(name, {**json.loads(self.config.read_text()), **more})

    def valid(self, what: str, lines: bytes) -> None:
        """Every line is a message by the protocol's models."""
        said = run([virtual_environment("airbyte-models"), HERE / "airbyte_lines.py"], input=lines)
        print(f"  airbyte {what}: {said.decode().strip()}", flush=True)

    def discovered(self) -> dict:
        lines = run([self.source, "discover", "--config", self.config])
        self.valid("source discover", lines)
        return payload(lines, "CATALOG")["catalog"]

    def catalog(self, streams: list[dict], modes: dict[str, str]) -> Path:
        chosen = [
            {
                "stream": stream,
                "sync_mode": stream["supported_sync_modes"][-1],
                "destination_sync_mode": modes[stream["name"]],
                "primary_key": stream.get("source_defined_primary_key"),
            }
            for stream in streams
            if stream["name"] in modes
        ]
        return self.written("catalog.json", {"streams": chosen})

    def lines(self) -> None:
        """What each command prints, by the models of the protocol."""
        for name, command in (("source", self.source), ("destination", self.destination)):
            self.valid(f"{name} spec", run([command, "spec"]))
            self.valid(f"{name} check", run([command, "check", "--config", self.config]))
        self.valid("destination discover", run([self.destination, "discover", "--config", self.config]))
        catalog = self.catalog(self.discovered()["streams"], dict.fromkeys(READ, "append"))
        read = run([self.source, "read", "--config", self.config, "--catalog", catalog])
        self.valid("source read", read)
        stream = {"name": "people", "json_schema": {"type": "object", "properties": {"Email": {}, "Last_Name": {}}}}
        stream["supported_sync_modes"] = ["full_refresh"]
        state = {"type": "STREAM", "stream": {"stream_descriptor": {"name": "people"}, "stream_state": {"at": 1}}}
        people = [{"Email": "a@x.test", "Last_Name": "Ng"}, {"Email": "nobody", "Last_Name": "O"}]
        sent = [{"type": "RECORD", "record": {"stream": "people", "data": data, "emitted_at": 1}} for data in people]
        sent.append({"type": "STATE", "state": state})
        config = self.settings("people.json", {"streams": '{"people": {"module": "Contacts", "match_on": ["Email"]}}'})
        command = [self.destination, "write", "--config", config, "--catalog", self.catalog([stream], {"people": "append_dedup"})]
        self.valid("destination write", run(command, input="".join(json.dumps(line) + "\n" for line in sent).encode()))

    def pyairbyte(self) -> None:
        """Twice into one DuckDB, with changes in between; every value against the emulator's truth."""
        config = self.settings("pyairbyte.json", {"lookback_seconds": 0})
        command = [virtual_environment("pyairbyte"), HERE / "pyairbyte_read.py", self.source, config]
        command += [self.folder / "airbyte.duckdb", *READ]
        for name in ("first time", "from its state"):
            with timed(f"airbyte PyAirbyte into DuckDB, {name}"):
                out = run(command, cwd=self.folder, env=self.environment).decode()
            rows = [exact(line[4:]) for line in out.splitlines() if line.startswith("ROW ")]
            for module in ("Leads", "Everything"):
                loaded = {row["id"]: row for stream, row in rows if stream == module}
                self.compare(module, loaded)
            control(self.url, "clock", {"advance_seconds": 3600})
            control(self.url, "mutate", {"module": "Leads", "seed": 5, "change": 20, "insert": 7})
        processed = int(re.search(r"^PROCESSED (\d+)$", out, re.MULTILINE).group(1))
        if not 27 <= processed <= 27 + 40:
            raise RuntimeError(f"the second run of PyAirbyte read {processed} records, and 27 changed")

    def compare(self, module: str, loaded: dict[str, dict]) -> None:
        columns = {name for row in loaded.values() for name in row}
        fields = [field for field in self.fields(module) if field.lower() in columns]
        held = truth(self.url, module, fields)
        same(sorted(loaded), sorted(held), f"PyAirbyte: ids of {module}")
        for identity, row in held.items():
            expected = {key.lower(): as_double(value) for key, value in row.items()}
            found = {key: as_double(loaded[identity][key]) for key in expected}
            same(found, expected, f"PyAirbyte: {module} {identity}")

    def fields(self, module: str) -> list[str]:
        lines = run([self.source, "discover", "--config", self.config])
        streams = payload(lines, "CATALOG")["catalog"]["streams"]
        return list(next(stream for stream in streams if stream["name"] == module)["json_schema"]["properties"])

    def pyab(self, *words: object, more: str = "") -> str:
        """PyAirbyte's own command line."""
        command = [virtual_environment("pyairbyte").with_name("pyab"), *map(str, words)]
        path = f"{virtual_environment('pyairbyte').parent}{os.pathsep}{self.environment['PATH']}"
        done = subprocess.run(command, cwd=self.folder, env={**self.environment, "PATH": path}, capture_output=True)
        said = (done.stdout + done.stderr).decode(errors="replace")
        if done.returncode != 0:
            raise RuntimeError(f"`pyab {words[0]}` exits with {done.returncode}:\n{said}")
        return said

    def validate(self) -> None:
        for command in (self.source, self.destination):
            with timed(f"airbyte pyab validate {command.name}"):
                said = self.pyab("validate", f"--connector={command}", f"--config={self.config}")
            if "Connection check succeeded" not in said:
                raise RuntimeError(f"pyab validate:\n{said}")

    def smoke_test(self) -> None:
        """Twenty streams of odd shapes, each a row of which goes into Accounts under the stream's name."""
        script = virtual_environment("pyairbyte").with_name("source-smoke-test")
        spec = self.written("empty.json", {})
        lines = run([script, "discover", "--config", spec], env=self.environment)
        streams = payload(lines, "CATALOG")["catalog"]["streams"]
        names = [stream["name"] for stream in streams if stream["name"] != WITHOUT_KEY]
        preflight = "_preflight_basic_types"
        target = lambda name: {
            "module": "Accounts",
            "operation": "insert",
            "fields": {"id": "Description"},
            "constants": {"Account_Name": name},
        }
        mapping = {name: target(name) for name in [*names, preflight]}
        config = self.settings(
            "smoke.json",
            {"streams": json.dumps(mapping), "at_least_once": True, "state_dir": str(self.folder / "smoke")},
        )
        with timed(f"airbyte pyab destination-smoke-test, {len(names)} streams"):
            said = self.pyab(
                "destination-smoke-test",
                f"--destination={self.destination}",
                f"--config={config}",
                f"--scenarios={','.join(names)}",
            )
        delivered = int(re.search(r'"records_delivered": (\d+)', said).group(1))
        rows = truth(self.url, "Accounts", ["id", "Account_Name"]).values()
        found = Counter(row["Account_Name"] for row in rows)
        found.pop(preflight)
        same(sum(found.values()), delivered, f"rows of the smoke test in Accounts ({dict(found)})")

    def faker(self) -> None:
        """Airbyte's reference source through a pipe into our destination: users become contacts."""
        faker = virtual_environment("airbyte-faker").with_name("source-faker")
        settings = self.written("faker.json", FAKER)
        streams = payload(run([faker, "discover", "--config", settings]), "CATALOG")["catalog"]["streams"]
        catalog = self.catalog(streams, {"users": "append_dedup"})
        mapping = {"users": {"module": "Contacts", "match_on": ["Email"], "fields": {"email": "Email", "name": "Last_Name"}}}
        config = self.settings("faker-zoho.json", {"streams": json.dumps(mapping), "state_dir": str(self.folder / "faker")})
        with timed("airbyte source-faker into our destination"):
            sent = run([faker, "read", "--config", settings, "--catalog", catalog])
            command = [self.destination, "write", "--config", config, "--catalog", catalog]
            answered = run(command, input=sent)
        self.valid("source-faker into our destination", answered)
        records = [message["record"]["data"] for message in messages(sent) if message["type"] == "RECORD"]
        emails = {record["email"] for record in records}
        held = {row["Email"] for row in truth(self.url, "Contacts", ["id", "Email"]).values()}
        same(sorted(emails - held), [], "addresses of source-faker that are not in Contacts")
        given, back = states(sent), states(answered)
        counts = [state.pop("destinationStats") for state in back]
        same(back, given, "the states that came back")
        same(sum(count["recordCount"] for count in counts), len(records), "records counted by our destination")

    def suite(self) -> None:
        """The CDK's suite, by a program that starts ours in place of a container."""
        for command in (self.source, self.destination):
            folder = self.folder / command.name
            (folder / "bin").mkdir(parents=True)
            shutil.copy(ROOT / "airbyte" / command.name / "metadata.yaml", folder)
            shutil.copy(HERE / "cdk_suite.py", folder / "test_suite.py")
            shutil.copy(self.config, folder / "config.json")
            wrong = {**json.loads(self.config.read_text()), "client_secret": "wrong", "state_dir": str(folder / "state")}
            (folder / "wrong.json").write_text(json.dumps(wrong))
            (folder / "acceptance-test-config.yml").write_text(ACCEPTANCE.format(name=command.name))
            docker = folder / "bin" / "docker"
            docker.write_text(DOCKER.format(program=command))
            docker.chmod(docker.stat().st_mode | stat.S_IXUSR)
            pytest = virtual_environment("airbyte-cdk")
            path = f"{folder / 'bin'}{os.pathsep}{self.environment['PATH']}"
            tests = [pytest, "-m", "pytest", "-q", "-rs", "-p", SUITE_HOOKS, "--connector-image", f"{command.name}:interop"]
            # Whether the spec still takes what a published version took is asked of a registry, which has none of ours.
            tests += ["--read-from-streams", "all", "-p", "no:cacheprovider", "-k", "not backward", "test_suite.py"]
            with timed(f"airbyte CDK suite, {command.name}"):
                done = subprocess.run(
                    [str(word) for word in tests], cwd=folder, env={**self.environment, "PATH": path}, capture_output=True
                )
            said = (done.stdout + done.stderr).decode(errors="replace")
            if done.returncode != 0:
                raise RuntimeError(f"the CDK's suite on {command.name}:\n{said}")
            (summary,) = [line for line in said.splitlines() if " passed" in line]
            print(f"    {summary}", flush=True)


SUITE_HOOKS = "airbyte_cdk.test.standard_tests.pytest_hooks"

ACCEPTANCE = """connector_image: {name}:interop
acceptance_tests:
  spec:
    tests:
      - config_path: config.json
  connection:
    tests:
      - config_path: config.json
        status: succeed
      - config_path: wrong.json
        status: failed
  discovery:
    tests:
      - config_path: config.json
  basic_read:
    tests:
      - config_path: config.json
"""

# `docker run --rm -e … -v FROM:TO[:rw] IMAGE words`: the words, with what a container would see put back.
DOCKER = """#!/usr/bin/env python3
import os, sys
words = sys.argv[1:]
if words[0] != "run":
    print("Docker version 0 (our programs in place of containers)")
    sys.exit(0)
places, at = {{}}, 1
while words[at].startswith("-"):
    if words[at] in ("-v", "-e"):
        if words[at] == "-v":
            outside, inside = words[at + 1].split(":")[:2]
            places[inside] = outside
        at += 1
    at += 1
os.execv("{program}", ["{program}", *(places.get(word, word) for word in words[at + 1 :])])
"""


def as_double(value: object) -> object:
    """A value as PyAirbyte keeps it: of a number some fifteen digits are left."""
    value = plain(value)
    return float(f"{value:.14g}") if isinstance(value, float) else value


def messages(lines: bytes) -> Iterator[dict]:
    return (json.loads(line) for line in lines.decode().splitlines())


def payload(lines: bytes, kind: str) -> dict:
    """The only message of a type."""
    (found,) = [message for message in messages(lines) if message["type"] == kind]
    return found


def states(lines: bytes) -> list[dict]:
    return [message["state"] for message in messages(lines) if message["type"] == "STATE"]
