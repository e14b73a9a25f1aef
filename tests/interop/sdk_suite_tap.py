"""The Meltano SDK's standard tests for taps, on ours.

Run by pytest in the environment of `requirements-sdk-suite.txt`; `TAP` names the program, `FOLDER` has `tap.json`. The
adapter has no reading of its own: discovery, trials and syncs are runs of the program.
"""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

from singer_sdk import Stream, Tap, Target
from singer_sdk.singerlib.json import deserialize_json
from singer_sdk.sinks import BatchSink
from singer_sdk.testing import factory, get_tap_test_class, runners

FOLDER = Path(os.environ["FOLDER"])


def tap(*arguments: str) -> str:
    """What the program wrote to stdout; its own words when it fails."""
    done = subprocess.run([os.environ["TAP"], *arguments], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout.decode()


CONFIG = ("--config", str(FOLDER / "tap.json"))
ABOUT = json.loads(tap("--about=json"))
CATALOG = json.loads(tap(*CONFIG, "--discover"))


class OurStream(Stream):
    """A stream of the catalog; reading it is a trial of the program with nothing else selected."""

    def sync(self, context=None) -> None:
        catalog = json.loads(json.dumps(CATALOG))
        for entry in catalog["streams"]:
            entry["metadata"][0]["metadata"]["selected"] = entry["tap_stream_id"] == self.name
        path = FOLDER / f"trial-{self.name}.json"
        path.write_text(json.dumps(catalog))
        sys.stdout.write(tap(*CONFIG, "--catalog", str(path), "--test"))

    def get_records(self, context):
        raise NotImplementedError


class OurTap(Tap):
    name = ABOUT["name"]
    config_jsonschema = ABOUT["settings"]

    def discover_streams(self) -> list[Stream]:
        return [of_entry(self, entry) for entry in CATALOG["streams"]]

    def run_discovery(self) -> str:
        return tap(*CONFIG, "--discover")

    @property
    def catalog_dict(self) -> dict:
        return json.loads(self.run_discovery())

    @classmethod
    def print_version(cls, print_fn=print) -> None:
        assert ABOUT["version"] in tap("--version")

    @classmethod
    def print_about(cls, output_format=None) -> None:
        print(tap(f"--about={output_format or 'markdown'}"))


def of_entry(parent: Tap, entry: dict) -> Stream:
    stream = OurStream(parent, schema=entry["schema"], name=entry["tap_stream_id"])
    (own,) = (item["metadata"] for item in entry["metadata"] if not item["breadcrumb"])
    stream.primary_keys = own["table-key-properties"]
    return stream


class OurRunner(runners.TapTestRunner):
    """Feeds the tests with what a whole sync of the program writes."""

    def _execute_sync(self) -> tuple[str, str]:
        return tap(*CONFIG), ""


factory.TapTestRunner = OurRunner

TestTap = get_tap_test_class(OurTap, config=json.loads((FOLDER / "tap.json").read_text()), parse_env_config=False)


class Collector(BatchSink):
    """Keeps what a target of the SDK is given."""

    found: dict[str, list[dict]] = {}

    def process_batch(self, context: dict) -> None:
        self.found.setdefault(self.stream_name, []).extend(context["records"])


class Reader(Target):
    name = "target-reader"
    config_jsonschema = {"properties": {}}
    default_sink_class = Collector


def test_batch_files_are_read_by_the_sdk() -> None:
    """A target of the SDK finds in our files what the program else writes as RECORDs."""
    root = (FOLDER / "batch files").as_uri()
    storage = {"encoding": {"format": "jsonl", "compression": "gzip"}, "storage": {"root": root, "prefix": "sdk-"}}
    settings = {**json.loads((FOLDER / "tap.json").read_text()), "batch_config": {**storage, "batch_size": 12}}
    path = FOLDER / "batches.json"
    path.write_text(json.dumps(settings))
    plain, batched = tap(*CONFIG), tap("--config", str(path))
    kinds = [json.loads(line)["type"] for line in batched.splitlines()]
    assert "RECORD" not in kinds and kinds.count("BATCH") > 8
    Reader(config={}).listen(io.StringIO(batched))
    expected: dict[str, list[dict]] = {}
    # Numbers as the SDK has them.
    for message in map(deserialize_json, plain.splitlines()):
        if message["type"] == "RECORD":
            expected.setdefault(message["stream"], []).append(message["record"])
    assert Collector.found == expected
