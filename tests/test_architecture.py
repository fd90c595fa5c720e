"""What holds for every file: who may import whom, one way in for each effect, sizes, and what no file may name.

Which imports are allowed is said in pyproject.toml (import-linter); here is what import-linter cannot see.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINES_MAX = 300
FUNCTION_LINES_MAX = 60

# One thing each, told in order.
LONGER_FILES = {
    "dispatcher/actors/flight.py": "the flight of one batch, from claim to record",
    "dispatcher/actors/runtime/lifecycle.py": "the whole life of an actor's task",
    "dispatcher/storage/batches.py": "the queue: every statement that moves a batch",
    "dispatcher/storage/planning.py": "the unit that plans a chunk",
}
LONGER_FUNCTIONS = {
    ("dispatcher/house.py", "build"): "the tree, one actor after the other",
}
# A deadline for a child process, or how long a statement or a message took, is no time of the product: nobody moves it.
OWN_MONOTONIC = (
    "dispatcher/actors/runtime/lifecycle.py",
    "dispatcher/storage/embedded/",
    "dispatcher/storage/migrate.py",
)
# Plays a provider, in a process of its own, whose times are real.
OWN_CLOCK = ("dispatcher/config/clock.py", "dispatcher/providers/simulator/")

_SQL = re.compile(
    r"^\s*(select\s.*\sfrom\s|insert\s+into\s|update\s+\w+\s+(as\s+)?(\w+\s+)?set\s|delete\s+from\s|with\s+\w+\s+as\s*\(|"
    r"(create|alter|drop)\s+(table|index|role|database)\s|copy\s+\w+\s*\()",
    re.IGNORECASE | re.DOTALL,
)
# Written so that this file does not match itself.
_REGISTRIES = re.compile(r"(?:pypi|npmjs|pythonhosted|crates|rubygems|quay|ghcr|gcr|docker)[.](?:org|com|io)\b")
_UNFINISHED = re.compile(r"\b(?:TO[D]O|FIX[M]E|XX[X]|HAC[K])\b|^(?:<{7}|>{7}) ", re.MULTILINE)

Module = tuple[str, ast.Module]


def tracked(*patterns: str) -> list[Path]:
    """The files of the repository that match, as git knows them; in an export without git, all that are there."""
    answer = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--", *patterns], capture_output=True, text=True, check=False
    )
    names = answer.stdout.split("\0") if answer.returncode == 0 else []
    found = [ROOT / name for name in names if name and (ROOT / name).is_file()]
    return found or [path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file()]


def parsed(*folders: str) -> Iterator[Module]:
    """Every module below these folders that is not empty."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if text.strip():
                yield path.relative_to(ROOT).as_posix(), ast.parse(text)


@pytest.fixture(scope="module")
def product() -> list[Module]:
    """The package's modules."""
    return list(parsed("dispatcher"))


def dotted(node: ast.expr) -> str:
    """`a.b.c` of an attribute or a name; empty for anything else."""
    if isinstance(node, ast.Attribute):
        above = dotted(node.value)
        return f"{above}.{node.attr}" if above else ""
    return node.id if isinstance(node, ast.Name) else ""


def names_used(tree: ast.Module) -> set[str]:
    """Every dotted name that a module mentions, with `from a import b` as `a.b`."""
    found = {dotted(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def docstrings(tree: ast.Module) -> set[int]:
    """The ids of the constants that are docstrings."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    first = [node.body[0] for node in ast.walk(tree) if isinstance(node, kinds) and node.body]
    return {id(one.value) for one in first if isinstance(one, ast.Expr)}


def test_imports_go_down_the_house() -> None:
    """The contracts of pyproject.toml."""
    answer = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-logo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == answer.returncode, answer.stdout + answer.stderr


def test_every_module_says_what_it_is_for() -> None:
    """In a docstring at its top; an empty __init__ has nothing to say."""
    assert [] == [name for name, tree in parsed("dispatcher", "tests", "bench") if ast.get_docstring(tree) is None]


def test_files_and_functions_are_short() -> None:
    """Or are one thing told in order, and listed with what that is."""
    long_files, long_functions = [], []
    for name, tree in parsed("dispatcher"):
        lines = len((ROOT / name).read_text(encoding="utf-8").splitlines())
        if lines > LINES_MAX and name not in LONGER_FILES:
            long_files.append(f"{name}: {lines} lines")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX and (name, node.name) not in LONGER_FUNCTIONS:
                    long_functions.append(f"{name} {node.name}: {lines} lines")
    assert ([], []) == (long_files, long_functions), "\n".join(long_files + long_functions)


def test_only_storage_holds_sql(product: list[Module]) -> None:
    """One way in to the database: a statement elsewhere would escape its review."""
    found = [
        f"{name}:{node.lineno}"
        for name, tree in product
        if not name.startswith("dispatcher/storage/")
        for said in (docstrings(tree),)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in said
        and _SQL.search(node.value)
    ]
    assert [] == found, "\n".join(found)


@pytest.mark.parametrize(
    ("statement", "is_sql"),
    [
        ("SELECT 1 FROM message", True),
        ("\n  update batch set state = 1", True),
        ("WITH due AS (", True),
        ("INSERT INTO x VALUES (1)", True),
        ("select a file", False),
        ("update the settings", False),
        ("with care", False),
    ],
)
def test_sql_is_told_from_words(statement: str, *, is_sql: bool) -> None:
    """The check above finds what it is for, and no sentences."""
    assert is_sql == bool(_SQL.search(statement))


def test_only_config_reads_the_environment(product: list[Module]) -> None:
    """A setting that is read elsewhere is in no list, has no check and no documentation."""
    readers = {"os.environ", "os.environb", "os.getenv", "os.getenvb"}
    found = [name for name, tree in product if not name.startswith("dispatcher/config/") and readers & names_used(tree)]
    assert [] == found, "\n".join(found)


def test_only_the_clock_reads_the_time(product: list[Module]) -> None:
    """Everybody else is given a Clock, so that a test can move it."""
    of_day = {
        *("time.time", "time.time_ns", "time.localtime", "time.gmtime", "datetime.now", "datetime.utcnow"),
        *("datetime.today", "date.today", "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.date.today"),
    }
    passing = {"time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.perf_counter_ns"}
    found = []
    for name, tree in product:
        if name.startswith(OWN_CLOCK):
            continue
        read = names_used(tree) & (of_day if name.startswith(OWN_MONOTONIC) else of_day | passing)
        if read:
            found.append(f"{name}: {', '.join(sorted(read))}")
    assert [] == found, "\n".join(found)


def test_nothing_swallows_every_error(product: list[Module]) -> None:
    """What catches all exceptions raises, or does something about what it caught."""

    def does_nothing(statement: ast.stmt) -> bool:
        if isinstance(statement, ast.Pass | ast.Continue | ast.Break):
            return True
        value = statement.value if isinstance(statement, ast.Return | ast.Expr) else statement
        return value is None or isinstance(value, ast.Constant)

    found = [
        f"{name}:{node.lineno}"
        for name, tree in product
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or dotted(node.type) in {"Exception", "BaseException"})
        and all(map(does_nothing, node.body))
    ]
    assert [] == found, "\n".join(found)


def test_what_the_package_imports_is_what_it_asks_for(product: list[Module]) -> None:
    """A library that is there only because another one needs it may be gone tomorrow."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["embedded"]]
    names = {_plain(re.split(r"[<>=~!\[; ]", one)[0]) for one in asked}
    distributions = packages_distributions()
    imported = set()
    for _, tree in product:
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.split(".")[0])
    others = imported - set(sys.stdlib_module_names) - {"dispatcher"}
    missing = {one for one in others if not {_plain(name) for name in distributions.get(one, [one])} & names}
    assert set() == missing


def test_no_file_names_a_registry() -> None:
    """Where packages come from is the machine's setting, and the lock file holds hashes, not addresses."""
    found = [path.name for path in tracked("*") if _REGISTRIES.search(_text(path))]
    addresses = [
        path.name
        for path in tracked("requirements/*", "Makefile", ".ci/*")
        if re.search(r"https?://|--(extra-)?index-url|--find-links|--trusted-host", _text(path))
    ]
    assert ([], []) == (found, addresses)


def test_nothing_is_left_unfinished() -> None:
    """No marks for later, no traces of a merge."""
    assert [] == [path.relative_to(ROOT).as_posix() for path in tracked("*") if _UNFINISHED.search(_text(path))]


def _plain(name: str) -> str:
    """A distribution's name as all its spellings have it."""
    return name.lower().replace("-", "_")


def _text(path: Path) -> str:
    """The file's text; nothing for what is none (a picture)."""
    data = path.read_bytes()
    return "" if b"\0" in data else data.decode("utf-8", errors="replace")
