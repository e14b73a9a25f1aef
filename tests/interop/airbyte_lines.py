"""Reads lines of Airbyte messages from stdin and holds each against the protocol's own models.

Run in the environment of `requirements-airbyte-models.txt`. The models allow unknown keys, so that a key
which is misspelt would pass: what a model does not know is told, too.
"""

import json
import sys
from collections import Counter

from airbyte_protocol.models import AirbyteMessage
from pydantic import BaseModel

# What we add in places where the protocol allows anything: the keys of settings and schemas are no messages.
OPEN = {"connectionSpecification", "json_schema", "stream_state", "data", "config", "advanced_auth"}


def unknown(model: BaseModel, place: str) -> list[str]:
    """Keys that the protocol does not know."""
    found = [f"{place}.{key}" for key in (model.model_extra or {})]
    for name in type(model).model_fields:
        value = getattr(model, name)
        values = value if isinstance(value, list) else [value]
        if name not in OPEN:
            for item in values:
                if isinstance(item, BaseModel):
                    found += unknown(item, f"{place}.{name}")
    return found


counts = Counter()
for number, line in enumerate(sys.stdin, 1):
    message = AirbyteMessage.model_validate(json.loads(line))
    strange = unknown(message, message.type.value)
    if strange:
        sys.exit(f"line {number}: the protocol does not know {strange}: {line[:300]}")
    counts[message.type.value] += 1
print(", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())))
