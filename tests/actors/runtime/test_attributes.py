"""The runtime keeps its state in the actor itself: a subclass that used one of those names would break it in silence."""

import ast
import asyncio
from collections.abc import Iterator
from pathlib import Path

import dispatcher
from dispatcher.actors.runtime import AsyncioActor
from dispatcher.actors.runtime.lifecycle import Lifecycle

_BASES = {"AsyncioActor", "Supervisor"}


def _names(actor: ast.ClassDef) -> Iterator[str]:
    """Names that the class gives to `self`, and its private methods (the others are there to be overridden)."""
    for node in ast.walk(actor):
        match node:
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if name.startswith("_"):
                yield name


def test_no_actor_takes_a_name_of_the_runtimes() -> None:
    """Of every class in the package that is an AsyncioActor."""

    async def attributes() -> set[str]:
        return set(vars(AsyncioActor()))

    taken = asyncio.run(attributes()) | {name for name in vars(Lifecycle) if not name.startswith("__")}
    taken.discard("_handle")  # once a message, with its envelope: may be wrapped, as long as it is called
    root = Path(dispatcher.__file__).parent
    actors = [
        (path.relative_to(root), node)
        for path in sorted(root.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and _BASES & {base.id for base in node.bases if isinstance(base, ast.Name)}
    ]
    assert len(actors) > 1
    assert [(str(path), actor.name, names) for path, actor in actors if (names := taken & set(_names(actor)))] == []
