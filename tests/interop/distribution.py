"""What people install: the wheel in a fresh virtual environment, the image, or what stands for it.

The wheel is built with the profile that the steps use anyway, from what is compiled already. The image
needs a container engine; where there is none, the programs run in a bare tree of files with what the
image's base has: the C library, CA certificates, no shell.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from emulator import ROOT, emulator
from environment import Missing, python, virtual_environment
from tools import quiet_environment, run, same, timed

PROGRAMS = ("destination-zoho-crm", "source-zoho-crm", "tap-zoho-crm", "target-zoho-crm", "zoho-crm")
# Libraries of gcr.io/distroless/cc-debian12: packages libc6 and libgcc-s1.
BASE = {"libc.so.6", "libm.so.6", "libgcc_s.so.1", "libpthread.so.0", "libdl.so.2", "librt.so.1"}
# The glibc of Debian 12.
NEWEST_GLIBC = (2, 36)
NOBODY = 65532
MOST_BYTES = 60_000_000
CERTIFICATES = Path("etc/ssl/certs/ca-certificates.crt")


def works(programs: Path, zoho_crm: Path) -> None:
    """The programs in a folder say who they are, and tap and emulator do their work."""
    for name in PROGRAMS:
        said = run([programs / name, "--version"]).decode()
        same(said.split()[0], name, f"{name} --version")
    with tempfile.TemporaryDirectory() as name:
        config = Path(name) / "zoho.json"
        with emulator(zoho_crm, {"Leads": 20}, "--write-config", config):
            settings = {**json.loads(config.read_text()), "state_dir": str(Path(name) / "state")}
            config.write_text(json.dumps(settings))
            out = run([programs / "tap-zoho-crm", "--config", config, "--test"], cwd=name)
            if b'"type":"RECORD","stream":"Leads"' not in out:
                raise RuntimeError("tap-zoho-crm --test reads no Lead")


def wheel(zoho_crm: Path) -> None:
    """Builds the wheel, installs it into a fresh environment, runs the programs."""
    maturin = virtual_environment("maturin").with_name("maturin")
    profile = {"release": "release"}.get(zoho_crm.parent.name, "dev")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [maturin, "build", "--profile", profile, "--locked", "--out", folder, "--compatibility", "linux"]
        with timed(f"wheel maturin build ({profile})"):
            # Stored, not deflated: it is thrown away in a minute.
            run([*command, "--compression-method", "stored"], cwd=ROOT, timeout=None)
        (built,) = folder.glob("*.whl")
        with timed("wheel pip install"):
            fresh = folder / "fresh"
            subprocess.run([python("3.11"), "-m", "venv", fresh], check=True)
            run([fresh / "bin" / "pip", "install", "--quiet", "--no-index", "--no-deps", built])
        works(fresh / "bin", fresh / "bin" / "zoho-crm")
        about = json.loads(run([fresh / "bin" / "tap-zoho-crm", "--about"]))
        listed = run([fresh / "bin" / "pip", "list", "--format", "json", "--disable-pip-version-check"])
        versions = {package["name"]: package["version"] for package in json.loads(listed)}
        same(versions.get("zoho-crm-connector"), about["version"], "the version that pip lists")
        with timed("wheel meltano add, invoke"):
            under_meltano(built, zoho_crm, folder / "project")


def under_meltano(wheel: Path, zoho_crm: Path, project: Path) -> None:
    """Meltano installs the wheel from the definition that the program prints."""
    project.mkdir()
    (project / "meltano.yml").write_text("send_anonymous_usage_stats: false\n")
    meltano = virtual_environment("meltano").with_name("meltano")
    environment = quiet_environment(project)
    for kind, name in (("extractor", "tap-zoho-crm"), ("loader", "target-zoho-crm")):
        definition = run([zoho_crm.with_name(name), "--about=meltano"]).decode()
        pinned = definition.replace('pip_url: "zoho-crm-connector"', f'pip_url: "{wheel}"')
        (project / f"{name}.yml").write_text(pinned)
        add = [meltano, "add", "--plugin-type", kind, name, "--from-ref", f"{name}.yml"]
        run(add, cwd=project, env=environment)
        said = run([meltano, "invoke", name, "--version"], cwd=project, env=environment).decode()
        same(said.split()[0], name, f"meltano invoke {name} --version")


def engine() -> str | None:
    """A container engine that answers."""
    for name in ("docker", "podman"):
        if shutil.which(name) and subprocess.run([name, "info"], capture_output=True).returncode == 0:
            return name
    return None


def image(zoho_crm: Path) -> None:
    """The image where it can be built, else the programs in a bare tree."""
    found = engine()
    if found is not None:
        build(found)
        return
    print("  image: no container engine answers here (docker, podman), so the image is not built", flush=True)
    bare(zoho_crm)


def build(engine: str) -> None:
    tag = "zoho-crm-connector:interop"
    with timed("image build"):
        run([engine, "build", "--tag", tag, ROOT], timeout=None)
    (facts,) = json.loads(run([engine, "image", "inspect", tag]))
    if facts["Size"] >= MOST_BYTES:
        raise RuntimeError(f"the image has {facts['Size']:,} bytes, more than {MOST_BYTES:,}")
    labels = facts["Config"]["Labels"]
    for label in ("io.airbyte.name", "io.airbyte.version"):
        if not labels.get(label):
            raise RuntimeError(f"the image has no label {label}")
    if facts["Config"]["User"].split(":")[0] in ("", "0", "root"):
        raise RuntimeError("the image runs as root")
    for name in PROGRAMS:
        same(run([engine, "run", "--rm", tag, name, "--version"]).split()[0].decode(), name, name)
    print(f"  image {facts['Size']:,} bytes")
    for name in ("source-zoho-crm", "destination-zoho-crm"):
        for_airbyte(engine, name)


def for_airbyte(engine: str, name: str) -> None:
    """The image of one Airbyte program says what it is, and begins with it."""
    tag = f"{name}:interop"
    with timed(f"image build {name}"):
        run([engine, "build", "--target", name, "--tag", tag, ROOT], timeout=None)
    (facts,) = json.loads(run([engine, "image", "inspect", tag]))
    if facts["Size"] >= MOST_BYTES:
        raise RuntimeError(f"the image of {name} has {facts['Size']:,} bytes, more than {MOST_BYTES:,}")
    same(facts["Config"]["Labels"].get("io.airbyte.name"), f"zoho-crm-connector/{name}", "io.airbyte.name")
    spec = json.loads(run([engine, "run", "--rm", tag, "spec"]))
    same(spec["type"], "SPEC", f"what {name} prints for spec")


def libraries(program: Path) -> dict[str, Path]:
    """The shared libraries a program needs, and its loader, as the system finds them."""
    said = run(["ldd", program]).decode()
    named = dict(re.findall(r"^\s*(\S+) => (/\S+)", said, re.MULTILINE))
    (loader,) = re.findall(r"^\s*(/\S*ld-linux\S*)", said, re.MULTILINE)
    return {**{name: Path(path) for name, path in named.items()}, loader: Path(loader)}


def bare(zoho_crm: Path) -> None:
    """Runs the programs with nothing around them but what the image's base has."""
    with tempfile.TemporaryDirectory(prefix="bare-") as name:
        tree = Path(name)
        for folder in ("bin", "lib", "state", "pipeline", "tmp", CERTIFICATES.parent):
            (tree / folder).mkdir(parents=True)
        shutil.copy(zoho_crm, tree / "bin" / "zoho-crm")
        for link in set(PROGRAMS) - {"zoho-crm"}:
            (tree / "bin" / link).symlink_to("zoho-crm")
        check_glibc(zoho_crm)
        for library, path in libraries(zoho_crm).items():
            if "/" not in library and library not in BASE:
                raise RuntimeError(f"zoho-crm needs {library}, which the image's base has not")
            place = tree / library.lstrip("/") if "/" in library else tree / "lib" / library
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path.resolve(), place)
        shutil.copy(Path("/") / CERTIFICATES, tree / CERTIFICATES)
        in_tree(zoho_crm, tree)


def check_glibc(program: Path) -> None:
    """No symbol of a C library newer than the image's."""
    found = re.findall(rb"GLIBC_(\d+)\.(\d+)", program.read_bytes())
    newest = max((int(major), int(minor)) for major, minor in found)
    if newest > NEWEST_GLIBC:
        raise RuntimeError(f"{program.name} needs glibc {newest}, and the image has {NEWEST_GLIBC}")


def in_tree(zoho_crm: Path, tree: Path) -> None:
    config = tree / "pipeline" / "zoho.json"
    with emulator(zoho_crm, {"Leads": 20}, "--write-config", config):
        settings = {**json.loads(config.read_text()), "state_dir": "/state"}
        if os.geteuid() == 0:
            os.chmod(tree, 0o755)
            os.chown(tree / "state", NOBODY, NOBODY)
            start = ["chroot", f"--userspec={NOBODY}:{NOBODY}", tree]
            programs, config_path = Path("/bin"), "/pipeline/zoho.json"
            print("  image: the programs run in a bare tree, by chroot, as nobody", flush=True)
        else:
            loader = next(tree.glob("lib*/ld-linux*"))
            start = [loader, "--inhibit-cache", "--library-path", tree / "lib"]
            programs, config_path = tree / "bin", config
            settings["state_dir"] = str(tree / "state")
            print("  image: the programs run with the bare tree's libraries, by its loader", flush=True)
        config.write_text(json.dumps(settings))
        os.chmod(config, 0o644)
        environment = quiet_environment(tree)
        for name in PROGRAMS:
            same(run([*start, programs / name, "--version"], env=environment).split()[0].decode(), name, name)
        out = run([*start, programs / "tap-zoho-crm", "--config", config_path, "--test"], env=environment)
        if b'"type":"RECORD","stream":"Leads"' not in out:
            raise RuntimeError("tap-zoho-crm --test reads no Lead in the bare tree")
