"""Each fault that must not come back is named by a test that would catch it."""

import ast
import re
from pathlib import Path

from tests.pg import ROOT

_NUMBER = re.compile(r"\bD\d+\b")


def _listed() -> set[str]:
    rows = (ROOT / "docs" / "testing.md").read_text().splitlines()
    return {found[1] for row in rows if (found := re.match(r"\| (D\d+) \|", row))}


def _named(file: Path) -> set[str]:
    """The numbers in the docstrings of a file's tests."""
    functions = [
        one for one in ast.walk(ast.parse(file.read_text())) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    docstrings = [ast.get_docstring(one) or "" for one in functions if one.name.startswith("test_")]
    return {number for text in docstrings for number in _NUMBER.findall(text)}


def test_each_known_fault_is_named_by_a_test() -> None:
    """The table in docs/testing.md has a test for each of its numbers."""
    named: set[str] = set()
    for file in (ROOT / "tests").rglob("test_*.py"):
        named |= _named(file)
    assert len(_listed()) == 27
    assert _listed() - named == set()
