"""The house keeps its own rules: who may import whom, where time comes from, how long a module is.

A new folder or module needs a rank here and in docs/design.md, which quotes both tables.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent
CORE = sorted((ROOT / "flowd").rglob("*.py"))
PLUGINS = sorted((ROOT / "plugins").rglob("*.py"))
EXAMPLES = sorted((ROOT / "docs/examples").glob("*.py"))
ALL = [*CORE, *PLUGINS, *EXAMPLES]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

RANKS = """
0  values market traders history
1  stream
2  upstream channel pair
3  door
4  plugin
5  setup
6  operate
7  daemon parent process roles running sockets testing
8  cli
"""
"""Of the folders, and of the modules that lie beside them."""

INSIDE = """
values    amounts buckets clock codec errors installing limits settings tally
          / environment filters peers record validators
stream    claim cursor cut frames held seek seen / handover heard journal log segments / reading
          / inputs snapshot / index memory mirror rows several unkept volatile / replica / stores
upstream  asked budget slices / connection http outages reach / renewal / feed misses
          / remembered watch
channel   audience guard packing prepared / client / row / channel / channels
door      base / desk head parameters
          / addresses carry outgoing readable readers rules visit websocket
          / beyond loan paths room turns / polls routes silence / clients / door
setup     hooks machine retained structure supervisor / registry / paired / config
          / carried paths remarks / wiring / checks shares stages / warm / filling
operate   log notify others status terminal watchdog
          / checked child dashboard follow logs metrics openapi siblings
          / ask observe telling web
testing   ledgers rest scripts / clients components / daemons
pair      ledger trail / shipping / lead / standby
"""
"""Within each folder: who stands further right may import who stands further left."""


def ranked(table: str) -> dict[str, int]:
    lines = (line.split() for line in table.strip().splitlines())
    return {name: int(rank) for rank, *names in lines for name in names}


def ranked_inside(table: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for line in re.sub(r"\n +/", " /", table.strip()).splitlines():
        folder, _, groups = line.partition(" ")
        for rank, group in enumerate(groups.split("/")):
            found |= {f"{folder}.{name}": rank for name in group.split()}
    return found


RANK = ranked(RANKS)
RANK_INSIDE = ranked_inside(INSIDE)

PLUGIN_API = {"flowd.plugin", "flowd.market", "flowd.traders", "flowd.history"}

CLOCKS = {"flowd/values/clock.py", "flowd/setup/machine.py", "plugins/flowd_simulator/command.py"}
"""Where the machine is asked for time and chance: the clock, what a daemon gets, and a command."""

MACHINE = {
    *("time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter"),
    *("datetime.datetime.now", "datetime.datetime.utcnow", "datetime.date.today"),
    *("random.random", "random.randint", "random.choice", "random.choices", "random.shuffle"),
    *("random.uniform", "random.SystemRandom", "uuid.uuid1", "uuid.uuid4", "os.urandom"),
    *("secrets.token_hex", "secrets.token_bytes", "secrets.token_urlsafe"),
}

WITH_QUART = {"jinja2", "werkzeug"}
"""What Quart is made of, and we use as its documentation does."""

EXTRAS = {
    "arrow": ("pyarrow", "pyarrow", {"flowd_heatmap"}),
    "duckdb": ("duckdb", "duckdb", {"flowd_heatmap", "flowd_history"}),
    "kafka": ("confluent-kafka", "confluent_kafka", {"flowd_kafka"}),
    "nats": ("pynacl", "nacl", {"flowd_nats"}),
    "postgres": ("psycopg", "psycopg", {"flowd_postgres"}),
    "redis": ("coredis", "coredis", {"flowd_redis"}),
}
"""What is installed for few plugins alone, how it is imported, and by whom: where it is used."""

LINES_MAX = 400
LONGER: dict[str, int] = {}

UNCLEAR = re.compile(r"(Manager|Handler|Helper|Util|Utils|Base|Info)$")


def name(file: Path) -> str:
    return str(file.relative_to(ROOT))


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), name(file))


def imports(file: Path) -> Iterator[str]:
    """The modules that a file imports, dotted; `from flowd import codec` is `flowd.codec`."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(file)}: relative import"
            assert node.module is not None
            if node.module == "flowd":
                yield from (f"flowd.{a.name}" for a in node.names if a.name != "__version__")
            else:
                yield node.module


def core_imports(file: Path) -> set[str]:
    """The modules of the core that a file imports, without `flowd.`: `stream.log`, `plugin`."""
    return {
        ".".join(module.split(".")[1:3])
        for module in imports(file)
        if module.split(".")[0] == "flowd" and module != "flowd"
    }


def module(file: Path) -> str:
    """What a file of the core is called there: `stream.log`, `plugin`."""
    return ".".join(file.relative_to(ROOT / "flowd").with_suffix("").parts)


def folder(module: str) -> str:
    return module.split(".")[0]


MODULES = {module(file): file for file in CORE if file.stem != "__init__"}


def called(file: Path) -> Iterator[tuple[int, str]]:
    """What a file calls or refers to, by its full name: `now()` after `from x import now` is
    `x.now`. Local variables that share a module's name are not mistaken for it.
    """
    bound: dict[str, str] = {}
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            bound |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            bound |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Attribute | ast.Name):
            first, dot, rest = ast.unparse(node).partition(".")
            if first in bound:
                yield node.lineno, f"{bound[first]}{dot}{rest}"


def test_a_folder_imports_from_its_own_rank_or_below() -> None:
    unranked = {folder(name) for name in MODULES} - set(RANK)
    assert not unranked, f"give them a rank in {Path(__file__).name} and in docs/design.md"

    too_high = {
        name: above
        for name, file in MODULES.items()
        if (above := {o for o in core_imports(file) if RANK[folder(o)] > RANK[folder(name)]})
    }

    assert not too_high


def test_a_module_imports_within_its_folder_from_its_own_rank_or_below() -> None:
    unranked = {name for name in MODULES if "." in name} - set(RANK_INSIDE)
    assert not unranked, f"give them a rank in {Path(__file__).name} and in docs/design.md"

    too_high = {
        name: above
        for name, file in MODULES.items()
        if (
            above := {
                other
                for other in core_imports(file)
                if folder(other) == folder(name)
                and other != folder(other)
                and RANK_INSIDE[other] > RANK_INSIDE[name]
            }
        )
    }

    assert not too_high


def test_a_folder_opens_with_one_sentence_and_no_code() -> None:
    wrong = []
    for file in CORE:
        if file.stem == "__init__" and file.parent.name not in ("flowd", "testing"):
            (words,) = tree(file).body
            sentence = ast.get_docstring(tree(file)) or ""
            if not isinstance(words, ast.Expr) or sentence.count(".") != 1:
                wrong.append(name(file))

    assert not wrong


def test_the_package_itself_imports_nothing() -> None:
    assert not list(imports(ROOT / "flowd/__init__.py"))


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {name: core_imports(file) for name, file in MODULES.items()}

    TopologicalSorter(graph).prepare()


def test_no_folders_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for name, file in MODULES.items():
        graph.setdefault(folder(name), set()).update(map(folder, core_imports(file)))

    TopologicalSorter({name: others - {name} for name, others in graph.items()}).prepare()


def test_the_ranks_name_no_module_that_is_gone() -> None:
    assert set(RANK) == {folder(name) for name in MODULES}
    assert set(RANK_INSIDE) == {name for name in MODULES if "." in name}


def test_the_tests_have_the_core_s_folders() -> None:
    mirrored = {
        str(file.relative_to(ROOT / "tests").parent)
        for file in (ROOT / "tests").rglob("test_*.py")
        if (ROOT / "flowd" / file.relative_to(ROOT / "tests").parent).is_dir()
    }

    assert mirrored >= {folder(name) for name in MODULES if "." in name} - {"testing"}


def test_the_design_page_quotes_the_ranks() -> None:
    page = (ROOT / "docs/design.md").read_text(encoding="utf-8")

    assert RANKS.strip() in page
    assert INSIDE.strip() in page


def test_the_core_knows_no_plugin() -> None:
    known = {
        name(file): module
        for file in CORE
        for module in imports(file)
        if module.startswith("flowd_")
    }

    assert not known


def test_a_plugin_imports_only_the_plugin_api_and_itself() -> None:
    more: dict[str, set[str]] = {}
    for file in (*PLUGINS, *EXAMPLES):
        folder, *inside = file.relative_to(ROOT).parts
        own = inside[0] if folder == "plugins" else file.stem
        ours = {module for module in imports(file) if module.split(".")[0].startswith("flowd")}
        others = {module for module in ours if module.split(".")[0] != own}
        more[name(file)] = others - PLUGIN_API

    assert not {file: modules for file, modules in more.items() if modules}


def test_of_the_simulator_only_the_hook_knows_flowd() -> None:
    package = ROOT / "plugins/flowd_simulator"

    knowing = {f for f in PLUGINS if package in f.parents and any(core_imports(f))}

    assert knowing <= {package / "__init__.py"}


def test_time_and_chance_come_from_the_machine_in_one_place() -> None:
    asked = [
        f"{name(file)}:{line}: {what}"
        for file in ALL
        if name(file) not in CLOCKS
        for line, what in called(file)
        if what in MACHINE
    ]

    assert not asked


def test_nothing_is_asyncio() -> None:
    users = {name(file) for file in ALL if any(m.split(".")[0] == "asyncio" for m in imports(file))}

    assert not users


def test_only_the_command_line_prints() -> None:
    prints = [
        f"{name(file)}:{node.lineno}"
        for file in ALL
        if file.stem != "cli"
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
    ]

    assert not prints


def test_a_module_that_grows_too_long_is_two_ideas() -> None:
    lines = {name(file): len(file.read_text(encoding="utf-8").splitlines()) for file in ALL}

    assert not {file: n for file, n in lines.items() if n > LONGER.get(file, LINES_MAX)}


def test_a_module_opens_by_saying_what_it_holds() -> None:
    opening = {name(file): (ast.get_docstring(tree(file)) or "").split("\n\n")[0] for file in ALL}

    assert not {file for file, words in opening.items() if not words.endswith(".")}


def test_what_is_kept_from_the_type_checker_has_a_reason() -> None:
    bare = [f"{name(file)}:{line}" for file in (*CORE, *PLUGINS) for line in unexplained(file)]

    assert not bare


def unexplained(file: Path) -> Iterator[int]:
    """Lines with a `# type: ignore` or a `cast` and no comment on them or in the three above."""
    lines = file.read_text(encoding="utf-8").splitlines()
    for index, line in enumerate(lines):
        code, ignores, why = line.partition("# type: ignore")
        if not ignores and not re.search(r"\bcast\(", code):
            continue
        # A hook specification has no body, as its ignore says.
        told = "[empty-body]" in why or "#" in (why if ignores else line)
        if not told and not any(re.match(r"\s*# \w", above) for above in lines[index - 3 : index]):
            yield index + 1


def test_classes_have_plain_names() -> None:
    unclear = [
        f"{name(file)}: {node.name}"
        for file in ALL
        for node in ast.walk(tree(file))
        if isinstance(node, ast.ClassDef) and UNCLEAR.search(node.name)
    ]

    assert not unclear


def test_plugins_hold_packages_and_nothing_loose() -> None:
    loose = [
        path.name
        for path in (ROOT / "plugins").iterdir()
        if path.name != "__pycache__"
        and not all((path / needed).exists() for needed in ("__init__.py", "py.typed"))
    ]

    assert not loose, "what is no package would ship at the top level"


def dependencies() -> set[str]:
    """What flowd needs, as it is called where it is installed from."""
    found = (re.match(r"[\w-]+", wanted) for wanted in PYPROJECT["project"]["dependencies"])
    return {name[0] for name in found if name is not None}


def extras() -> set[str]:
    """What plugins can do without, and import where it is used: `pip install flowd-daemon[…]`."""
    return {module for _, module, _ in EXTRAS.values()}


def named(file: Path) -> set[str]:
    """The packages that a file imports, also those by `import_module("name")`."""
    late = {
        node.args[0].value
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith("import_module")
        and isinstance(node.args[0], ast.Constant)
    }
    return {module.split(".")[0] for module in (*imports(file), *map(str, late))}


def test_what_only_some_install_is_imported_where_it_is_used() -> None:
    """Else nobody could start without it: all plugins are found where none of it is there."""
    without = [f"sys.modules[{name!r}] = None" for name in sorted(extras())]
    lines = [
        "import sys",
        *without,
        "from flowd.setup.registry import load",
        "print(*(f'{one.name}: {one.error}' for one in load(None).found if one.error), sep='\\n')",
    ]

    found = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True
    )

    assert found.stdout.strip() == ""


def test_what_is_installed_is_imported_and_what_is_imported_is_installed() -> None:
    ours = {"flowd", *(path.name for path in (ROOT / "plugins").iterdir())}
    used = {module.split(".")[0] for file in (*CORE, *PLUGINS) for module in imports(file)}

    others = used - sys.stdlib_module_names - ours - WITH_QUART - extras()

    assert others == {name.replace("-", "_") for name in dependencies()}


def test_what_only_some_need_is_in_an_extra() -> None:
    optional = PYPROJECT["project"]["optional-dependencies"]

    assert EXTRAS.keys() == optional.keys() - {"test", "bench"}
    for extra, (distribution, module, plugins) in EXTRAS.items():
        assert [re.split(r"[^\w-]", one)[0] for one in optional[extra]] == [distribution]
        assert {file.parent.name for file in PLUGINS if module in named(file)} == plugins
    assert not any(extras() & named(file) for file in CORE)


def test_the_design_page_says_of_each_dependency_why_it_is_there() -> None:
    page = (ROOT / "docs/design.md").read_text(encoding="utf-8")
    _, _, section = page.partition("\n## What it is made of\n")

    told = re.findall(r"^\| `([\w-]+)` \| \w.+ \|$", section.partition("\n## ")[0], re.MULTILINE)

    assert told == sorted(dependencies())


def test_before_a_commit_the_tools_of_make_run_and_no_others() -> None:
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    made = {line.strip().replace("$(BIN)", ".venv/bin") for line in makefile.splitlines()}
    test = ".venv/bin/python -m pytest"
    assert f'{test} -m "edge or browser"' in made

    entries = re.findall(r"^ +entry: (.+)$", text, re.MULTILINE)

    own = {entry for entry in entries if entry.startswith(f"{test} ")}
    assert set(entries) - own <= made
    assert all((ROOT / entry.removeprefix(f"{test} ")).is_file() for entry in own)
    for line in ("- id: ", "language: system", "pass_filenames: false"):
        assert text.count(line) == len(entries) > 0
    assert re.findall(r"^ +- repo: (.+)$", text, re.MULTILINE) == ["local"]


def test_the_client_knows_nothing_of_flowd_and_needs_what_it_says() -> None:
    client = ROOT / "clients/python"
    project = tomllib.loads((client / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    files = sorted((client / "src").rglob("*.py"))
    used = {module.split(".")[0] for file in files for module in imports(file)}

    others = used - sys.stdlib_module_names - {"flowd_client"}

    assert others == {re.split(r"\W", wanted)[0] for wanted in project["dependencies"]}
    assert PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"] == [
        *("flowd", "plugins")
    ]


def test_the_source_archive_has_all_that_make_and_the_reader_need() -> None:
    shipped = set(PYPROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"])
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    called = {name for name in re.findall(r"\b(\w+)/\w", makefile) if (ROOT / name).is_dir()}

    assert all((ROOT / name).exists() for name in shipped)
    assert called <= shipped
    assert {path.name for path in ROOT.glob("*.md")} <= shipped
    assert set(PYPROJECT["project"]["license-files"]) <= shipped
