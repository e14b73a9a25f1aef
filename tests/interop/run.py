"""Runs the interoperability tests; see README.md."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from emulator import binary, emulator, zgid
from environment import HERE, Missing, virtual_environment


def sdk(program: Path) -> None:
    """Zoho's own Python SDK as a client of the emulator."""
    interpreter = virtual_environment("sdk")
    with emulator(program, {"Leads": 500, "Contacts": 20}) as url:
        subprocess.run([str(interpreter), str(HERE / "sdk.py"), url, zgid(url)], check=True)


STEPS = {"sdk": sdk}


def main() -> int:
    parser = argparse.ArgumentParser(description="Interoperability tests against the local emulator.")
    parser.add_argument("--binary", help="the built `zoho-crm`; the newest of target/ when absent")
    parser.add_argument("step", nargs="*", choices=[*STEPS, []], help="which to run; all when absent")
    options = parser.parse_args()
    failed = 0
    for name in options.step or STEPS:
        start = time.monotonic()
        try:
            STEPS[name](binary(options.binary))
            outcome = "ok"
        except Missing as missing:
            outcome = f"MISSING: {missing}"
            failed += 1
        except (subprocess.CalledProcessError, RuntimeError) as error:
            outcome = f"FAILED: {error}"
            failed += 1
        print(f"{name:12} {time.monotonic() - start:7.1f} s  {outcome}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
