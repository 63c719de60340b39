"""`make dist`: one self-contained executable, and the same as a folder, from the wheel.

Builds with PyInstaller in an environment of its own into which only the wheel is installed, so that
what is frozen is what is shipped. Entry points and files of packages are named one by one: without
that PyInstaller loses them without a word.
"""

import argparse
import importlib.metadata
import platform
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

PYINSTALLER = "pyinstaller>=6.11,<7"
DISTRIBUTION = "flowd-daemon"
EXTRAS = {"redis": "coredis"}
"""Which extras are inside, and what they install: flowd needs it to be several processes."""
MAIN = "from flowd.cli import main\n\nmain()\n"
SPEC = """
from PyInstaller.utils.hooks import collect_all, collect_submodules, copy_metadata

datas = copy_metadata({distribution!r}, recursive=True)
binaries = []
hidden = collect_submodules("rich._unicode_data") + {compiled!r}
for package in {packages!r}:
    more_datas, more_binaries, more_hidden = collect_all(package)
    datas, binaries, hidden = datas + more_datas, binaries + more_binaries, hidden + more_hidden
analysis = Analysis(
    [{script!r}], datas=datas, binaries=binaries, hiddenimports=hidden, excludes={left_out!r}
)
modules = PYZ(analysis.pure)
EXE(modules, analysis.scripts, analysis.binaries, analysis.datas, [], name={name!r}, upx=False)
starter = EXE(modules, analysis.scripts, [], exclude_binaries=True, name="flowd", upx=False)
COLLECT(starter, analysis.binaries, analysis.datas, name={folder!r}, upx=False)
"""
"""What PyInstaller is told: one analysis, and both forms of it."""
LEFT_OUT = ("tkinter", "duckdb", "pyarrow", "pytest", "IPython", "pip", "setuptools")
"""What dependencies could use and flowd does not, or what is not ours to ship."""


def main() -> int:
    """Build both forms."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--work", type=Path, default=Path(".stamps/executable"))
    parser.add_argument("--output", type=Path, default=Path("dist"))
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    work, output = options.work.resolve(), options.output.resolve()
    if options.inside:
        return freeze(work, output)
    python = work / "venv/bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", work / "venv"], check=True)
    install = [python, "-m", "pip", "install", "--quiet"]
    extras = ",".join(EXTRAS)
    subprocess.run([*install, PYINSTALLER, f"{options.wheel}[{extras}]"], check=True)
    again = [*install, "--force-reinstall", "--no-deps", options.wheel]
    subprocess.run(again, check=True)
    arguments = [options.wheel, "--work", work, "--output", output, "--inside"]
    return subprocess.run([python, __file__, *arguments]).returncode


def packages() -> list[str]:
    """The packages of the wheel, flowd's own and its plugins', and those of its extras."""
    distribution = importlib.metadata.distribution(DISTRIBUTION)
    plugins = {entry.value for entry in distribution.entry_points if entry.group == "flowd"}
    return ["flowd", *sorted(plugins), *EXTRAS.values()]


def compiled() -> list[str]:
    """The modules in which mypyc puts what it compiled: named by a hash, beside the package that
    imports it, from where PyInstaller does not see that.
    """
    files = [file for name in EXTRAS.values() for file in importlib.metadata.files(name) or []]
    return sorted({file.name.partition(".")[0] for file in files if "__mypyc." in file.name})


def freeze(work: Path, output: Path) -> int:
    """Run PyInstaller, in the environment that has the wheel."""
    import PyInstaller.__main__ as pyinstaller

    version = importlib.metadata.version(DISTRIBUTION)
    name = f"flowd-{version}-{platform.system().lower()}-{platform.machine()}"
    folder = f"{name}-folder"
    script, spec = work / "flowd_main.py", work / "flowd.spec"
    script.write_text(MAIN, encoding="utf-8")
    told = {"distribution": DISTRIBUTION, "packages": packages(), "script": str(script)}
    told |= {"compiled": compiled()}
    told |= {"left_out": list(LEFT_OUT), "name": name, "folder": folder}
    spec.write_text(SPEC.format(**told), encoding="utf-8")
    places = [f"--distpath={work / 'made'}", f"--workpath={work / 'build'}"]
    pyinstaller.run(["--noconfirm", "--log-level=WARN", *places, str(spec)])
    output.mkdir(parents=True, exist_ok=True)
    shutil.copy2(work / "made" / name, output / name)
    with tarfile.open(output / f"{name}.tar.gz", "w:gz", compresslevel=6) as archive:
        archive.add(work / "made" / folder, name)
    for made in (output / name, output / f"{name}.tar.gz"):
        print(f"{made}: {made.stat().st_size / 1e6:.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
