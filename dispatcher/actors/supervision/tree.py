"""Tree: the whole of the actors, as the daemon and the operators see it. It adds no rule to what supervisors do."""

import asyncio
from collections.abc import Iterator

from dispatcher.actors.runtime import SILENT, ActorUnavailable, Death, Observer, Ping
from dispatcher.actors.supervision.child import Child, ChildSpec
from dispatcher.actors.supervision.info import ActorInfo, StartFailed, Unhealthy, UnknownActor
from dispatcher.actors.supervision.supervisor import Restart, Supervisor


class Tree:
    """A root supervisor with nobody above it: its failure resolves `failed`, and the process has to end.

    `failed` is a future of the cause; it stays pending when the tree is stopped in order.
    """

    def __init__(self, root: Supervisor, *, name: str = "Root", observer: Observer = SILENT) -> None:
        self.failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._observer = observer
        self._root = Child(ChildSpec(name, lambda: root), self._root_died)

    async def start(self) -> None:
        """Start all, in order. Raises StartFailed (and resolves `failed`) when the budget does not allow it."""
        try:
            await self._root.start(self._observer)
        except StartFailed as error:
            self._root.state = "failed"
            self._fail(error.cause if error.cause is not None else error)
            raise

    async def stop(self) -> None:
        """Stop all, in reverse, each within its own timeout. Does nothing when nothing runs."""
        if self._root.state != "failed":
            await self._root.stop("stopped")

    async def restart(self, name: str, *, timeout_s: float = 30.0) -> None:
        """Stop and start the actor of this name (or path, where a name is not enough), and wait until it runs.

        Raises UnknownActor, or ActorUnavailable when its supervisor is away or it does not run again in time.
        """
        found = [(child, parent) for child, path, parent in self._walk() if name in (child.name, path)]
        if len(found) != 1:
            msg = f"{len(found)} actors are called {name}"
            raise UnknownActor(msg)
        child, parent = found[0]
        if parent is None:
            msg = f"{name} is the root: what restarts it is the end of the process"
            raise UnknownActor(msg)
        await parent.address.ask(Restart(child.name), timeout_s=timeout_s)

    def snapshot(self) -> list[ActorInfo]:
        """Every actor as it is now, parents before children, in the order in which they start."""
        return [child.info(path, parent.name if parent is not None else None) for child, path, parent in self._walk()]

    async def probe(self, timeout_s: float) -> list[Unhealthy]:
        """Ping every supervisor and actor through its inbox, all at once; those that do not run or answer in time."""
        answers = await asyncio.gather(*(_probe(child, path, timeout_s) for child, path, _ in self._walk()))
        return [answer for answer in answers if answer is not None]

    def _walk(self) -> Iterator[tuple[Child, str, Child | None]]:
        """Each child with its path and its parent."""
        ahead: list[tuple[Child, str, Child | None]] = [(self._root, self._root.name, None)]
        while ahead:
            child, path, parent = ahead.pop()
            yield child, path, parent
            if isinstance(child.actor, Supervisor):
                ahead += [(below, f"{path}/{below.name}", child) for below in reversed(child.actor.children)]

    def _root_died(self, root: Child, death: Death) -> None:
        root.state = "failed"
        self._fail(
            death.cause if death.cause is not None else RuntimeError(f"{death.name} was stopped by somebody else")
        )

    def _fail(self, cause: BaseException) -> None:
        self._root.last_error = repr(cause)
        if not self.failed.done():
            self.failed.set_result(cause)


async def _probe(child: Child, path: str, timeout_s: float) -> Unhealthy | None:
    if child.state != "running":
        return Unhealthy(child.name, path, child.state)
    try:
        await child.address.ask(Ping(), timeout_s=timeout_s)
    except ActorUnavailable as error:
        return Unhealthy(child.name, path, error.why)
    return None
