"""PyAirbyte reads our source into DuckDB: `pyairbyte_read.py PROGRAM CONFIG DATABASE STREAM...`.

Run in the environment of `requirements-pyairbyte.txt`; prints the rows of each stream as JSON lines.
"""

import json
import sys
from decimal import Decimal

import airbyte
from airbyte.caches import DuckDBCache

program, config, database, *streams = sys.argv[1:]
with open(config, encoding="utf-8") as file:
    settings = json.load(file)


def plain(value: object) -> object:
    return float(value) if isinstance(value, Decimal) else str(value)


source = airbyte.get_source("source-zoho-crm", local_executable=program, config=settings)
source.check()
source.select_streams(streams)
result = source.read(cache=DuckDBCache(db_path=database))
for name in streams:
    for record in result[name]:
        row = {key: value for key, value in dict(record).items() if not key.startswith("_airbyte")}
        print("ROW " + json.dumps([name, row], default=plain), flush=True)
print(f"PROCESSED {result.processed_records}", flush=True)
