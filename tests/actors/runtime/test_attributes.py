"""The runtime keeps its state in the actor itself: a subclass that used one of those names would break it in silence."""

import ast
import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

import dispatcher
from dispatcher.actors.runtime import AsyncioActor

_BASES = {"AsyncioActor", "Supervisor"}


def _assigned(actor: ast.ClassDef) -> Iterator[str]:
    """Names that the class gives to `self`."""
    for node in ast.walk(actor):
        match node:
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                yield name


def test_no_actor_takes_an_attribute_of_the_runtimes() -> None:
    """Of every class in the package that is an AsyncioActor."""

    async def attributes() -> set[str]:
        return set(vars(AsyncioActor()))

    taken = asyncio.run(attributes())
    root = Path(dispatcher.__file__).parent
    actors = [
        (path.relative_to(root), node)
        for path in sorted(root.rglob("*.py"))
        if any(base in (source := path.read_text()) for base in _BASES)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef) and _BASES & {base.id for base in node.bases if isinstance(base, ast.Name)}
    ]
    assert len(actors) > 1
    assert [(str(path), actor.name, names) for path, actor in actors if (names := taken & set(_assigned(actor)))] == []


def test_no_actor_takes_a_private_method_of_the_runtimes() -> None:
    """It is refused where the class is made."""
    with pytest.raises(TypeError, match="Thief takes names of the actor runtime: _close, _fail"):
        type("Thief", (AsyncioActor,), {"_fail": lambda self: None, "_close": lambda self: None})
