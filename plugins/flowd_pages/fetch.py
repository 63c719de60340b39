"""Fetches the front-end packages that the pages use: `npm ci` as the lock file says, then the few
files that are served, with their licences, into `vendor/`.

Run by `make`, and by the build of the wheel. Needs nothing but Python and, if it is there, npm:
without npm the daemon runs all the same and the chart page says what to install.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
CHARTS = "lightweight-charts"
BUNDLED = (CHARTS, "fancy-canvas")
"""The packages whose code is in the one file that is served."""
NPM_TIMEOUT_S = 300


def stamp(folder: Path) -> str:
    """What `vendor/` was made of: another lock file or another fetch means fetching again."""
    found = hashlib.sha256()
    for name in ("package-lock.json", "fetch.py"):
        found.update((folder / name).read_bytes())
    return found.hexdigest()


def fetch(folder: Path = HERE, *, development: bool = False) -> str:
    """Make `vendor/` what the lock file says; one sentence about what was done, or could not be.

    With `development` the type checker is installed too. Raises nothing: pages are a convenience,
    and no reason for a build to fail.
    """
    vendor, modules = folder / "vendor", folder / "node_modules"
    wanted = stamp(folder)
    fresh = (vendor / "stamp").is_file() and (vendor / "stamp").read_text() == wanted
    if fresh and (not development or (modules / "typescript").is_dir()):
        return "the pages' packages are there already"
    npm = shutil.which("npm")
    if npm is None:
        return "npm is not installed: the pages are built without charts (install Node.js with npm)"
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
    try:
        done = subprocess.run(
            command if development else [*command, "--omit=dev"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=NPM_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"npm did not work, the pages are built without charts: {error}"
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return f"npm ci failed, the pages are built without charts: {last}"
    copy(modules, vendor)
    (vendor / "stamp").write_text(wanted)
    return "the pages' packages were fetched"


def copy(modules: Path, vendor: Path) -> None:
    """Copy what is served, in a folder that names its version, and note whose it is."""
    shutil.rmtree(vendor, ignore_errors=True)
    packages = [json.loads((modules / name / "package.json").read_text()) for name in BUNDLED]
    folder = vendor / f"{CHARTS}-{packages[0]['version']}"
    folder.mkdir(parents=True)
    source = modules / CHARTS
    shutil.copy(source / "dist" / f"{CHARTS}.standalone.production.mjs", folder / f"{CHARTS}.js")
    shutil.copy(source / "LICENSE", folder / "LICENSE.txt")
    notices = [
        {key: str(package.get(key, "")) for key in ("name", "version", "license", "homepage")}
        for package in packages
    ]
    (vendor / "notices.json").write_text(json.dumps(notices, indent=2) + "\n")


if __name__ == "__main__":
    sys.stdout.write(fetch(development="--development" in sys.argv[1:]) + "\n")
