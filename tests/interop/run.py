"""Runs the interoperability tests; see README.md."""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from airbyte_tools import airbyte
from check_tap import check_tap
from distribution import image, wheel
from emulator import binary, emulator, zgid
from environment import HERE, Missing, python, virtual_environment
from meltano import meltano
from northwind import northwind
from sdk_suite import sdk_suite
from sigterm import sigterm
from warehouses import warehouses


def sdk(program: Path) -> None:
    """Zoho's own Python SDK as a client of the emulator."""
    interpreter = virtual_environment("sdk")
    with emulator(program, {"Leads": 500, "Contacts": 20}) as url:
        subprocess.run([str(interpreter), str(HERE / "sdk.py"), url, zgid(url)], check=True)


STEPS = {
    "sdk": sdk,
    "check-tap": check_tap,
    "sdk-suite": sdk_suite,
    "meltano": meltano,
    "sigterm": sigterm,
    "northwind": northwind,
    "warehouses": warehouses,
    "airbyte": airbyte,
    "wheel": wheel,
    "image": image,
}


def outcome(step: str, program: Path) -> str | None:
    """Why a step failed; none when it did not."""
    try:
        python("3.11")
        STEPS[step](program)
    except Missing as missing:
        return f"MISSING: {missing}"
    except (subprocess.SubprocessError, RuntimeError, OSError) as error:
        return f"FAILED: {error}"
    return None


def install_all() -> None:
    """Makes every environment, two at a time; what fails is told by the step that needs it."""

    def install(name: str) -> None:
        with contextlib.suppress(Missing):
            virtual_environment(name)

    names = sorted(file.stem.removeprefix("requirements-") for file in HERE.glob("requirements-*.txt"))
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(install, names))


def main() -> int:
    parser = argparse.ArgumentParser(description="Interoperability tests against the local emulator.")
    parser.add_argument("--binary", help="the built `zoho-crm`; the newest of target/ when absent")
    parser.add_argument("--install", action="store_true", help="only make the environments, beside a build")
    parser.add_argument("step", nargs="*", choices=[*STEPS, []], help="which to run; all when absent")
    options = parser.parse_args()
    if options.install:
        install_all()
        return 0
    start = time.monotonic()
    failed = 0
    for name in options.step or STEPS:
        begin = time.monotonic()
        wrong = outcome(name, binary(options.binary))
        failed += wrong is not None
        print(f"{name:12} {time.monotonic() - begin:7.1f} s  {wrong or 'ok'}", flush=True)
    ran = len(options.step or STEPS)
    print(f"{'all':12} {time.monotonic() - start:7.1f} s\n{ran - failed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
