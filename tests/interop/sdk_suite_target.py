"""The Meltano SDK's standard tests for targets, on ours.

Run by pytest in the environment of `requirements-sdk-suite.txt`; `TARGET` names the program, `FOLDER` has `target.json`.
What a test gives the target goes to the program's stdin; what this refuses becomes the SDK's own exception.
"""

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from singer_sdk import Stream, Tap, Target
from singer_sdk.exceptions import MissingKeyPropertiesError, RecordsWithoutSchemaException
from singer_sdk.sinks import BatchSink
from singer_sdk.testing import get_target_test_class

FOLDER = Path(os.environ["FOLDER"])
CONFIG = ("--config", str(FOLDER / "target.json"))


def target(*arguments: str, messages: str = "") -> str:
    done = subprocess.run(
        [os.environ["TARGET"], *arguments], input=messages.encode(), capture_output=True, timeout=120
    )
    said = done.stderr.decode(errors="replace")
    if "comes before its SCHEMA" in said:
        raise RecordsWithoutSchemaException(said)
    if "lacks its key property" in said:
        raise MissingKeyPropertiesError(said)
    assert done.returncode == 0, said
    return done.stdout.decode()


ABOUT = json.loads(target("--about=json"))


class NoSink(BatchSink):
    """Nothing reaches it."""


class OurTarget(Target):
    name = ABOUT["name"]
    config_jsonschema = ABOUT["settings"]
    default_sink_class = NoSink

    def process_lines(self, file_input) -> None:
        sys.stdout.write(target(*CONFIG, messages=file_input.read()))

    def process_endofpipe(self) -> None:
        """The program is at its end."""

    @classmethod
    def print_version(cls, print_fn=print) -> None:
        assert ABOUT["version"] in target("--version")

    @classmethod
    def print_about(cls, output_format=None) -> None:
        print(target(f"--about={output_format or 'markdown'}"))


SETTINGS = json.loads((FOLDER / "target.json").read_text())
# The SDK puts defaults into the settings while it looks which form of `streams` they have, and trips over an empty list.
SETTINGS.pop("streams")

Suite = get_target_test_class(OurTarget, config=SETTINGS, parse_env_config=False)


class TestTarget(Suite):
    """The suite, but for one test."""

    def test_target_pk_updates(self, config, resource, runner) -> None:
        """Its SCHEMA has `key_properties` inside of `schema`: by the Singer specification it lacks them."""
        with pytest.raises(AssertionError, match="SCHEMA has no `key_properties`"):
            super().test_target_pk_updates(config, resource, runner)


class Rows(Stream):
    name = "sdk_batches"
    primary_keys = ("id",)
    schema = {"properties": {"id": {"type": "integer"}, "text": {"type": "string"}}}

    def get_records(self, context):
        yield from ({"id": number, "text": f"row {number} é"} for number in range(25))


class Writer(Tap):
    name = "tap-writer"
    config_jsonschema = {"properties": {}}

    def discover_streams(self) -> list[Stream]:
        return [Rows(self)]


def test_batch_files_of_the_sdk_are_read() -> None:
    """The step looks for the rows in the emulator."""
    root = (FOLDER / "files of the SDK").as_uri()
    batches = {"encoding": {"format": "jsonl", "compression": "gzip"}, "storage": {"root": root}, "batch_size": 10}
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with redirect_stdout(out):
        Writer(config={"batch_config": batches}).sync_all()
    out.seek(0)
    messages = out.read()
    assert messages.count('"BATCH"') == 3 and '"RECORD"' not in messages
    target(*CONFIG, messages=messages)
