#!/usr/bin/env python3
"""A loader for `sigterm.py`: keeps every record before it confirms a state, and writes down when it did.

It is told where by RECORDER_FOLDER. A signal ends it as it ends any program.
"""

import os
import sys
import time

folder = os.environ["RECORDER_FOLDER"]
records = open(os.path.join(folder, "records.jsonl"), "a", encoding="utf-8")
states = open(os.path.join(folder, "states.jsonl"), "a", encoding="utf-8")
for line in sys.stdin:
    if not line.startswith('{"type":"STATE"'):
        records.write(line)
        continue
    records.flush()
    value = line[len('{"type":"STATE","value":') : -len("}\n")]
    # Printed first: what is written down was printed.
    sys.stdout.write(value + "\n")
    sys.stdout.flush()
    states.write(f"{time.time()} {value}\n")
    states.flush()
