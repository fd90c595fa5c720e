"""The life of an actor on a loop: start, one message after another, death. Told in the order in which it happens.

Pykka's loop is written for threads; this one takes its place through the hooks Pykka keeps "for implementors of new
actor types". What a subclass of AsyncioActor may call is in actor.py.
"""

import asyncio
import contextlib
import inspect
from collections.abc import Callable
from time import perf_counter
from typing import Any

import structlog
from pykka import ActorRef, ActorRegistry
from pykka._envelope import Envelope
from pykka.messages import ProxyCall, ProxyGetAttr, ProxySetAttr

from dispatcher.actors.runtime.children import Children, Ticker
from dispatcher.actors.runtime.death import Death
from dispatcher.actors.runtime.deferred import Deferred
from dispatcher.actors.runtime.errors import ReplyLost
from dispatcher.actors.runtime.future import AsyncioFuture
from dispatcher.actors.runtime.hooks import Hooks
from dispatcher.actors.runtime.inbox import AsyncioInbox, TickEnvelope
from dispatcher.actors.runtime.lost import report_lost
from dispatcher.actors.runtime.observer import SILENT, Observer
from dispatcher.actors.runtime.signals import Ping, Stop

log = structlog.get_logger(__name__)

# A never-empty inbox must not starve the loop: after so many messages the others get their turn.
MESSAGES_PER_TURN_MAX = 64
_PROXY_MESSAGES = (ProxyCall, ProxyGetAttr, ProxySetAttr)
_FUTURES = (asyncio.Future, AsyncioFuture)

# The loop holds its tasks weakly; a running actor must not be collected.
_running: set["asyncio.Task[None]"] = set()


class Lifecycle(Hooks):
    """The machinery of `AsyncioActor`, without what its subclasses call."""

    actor_inbox: AsyncioInbox

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        """Raises RuntimeError when no loop runs in this thread."""
        super().__init__()
        self.name = type(self).__name__
        self.observer: Observer = SILENT
        self.handled_total = 0
        self.asker: AsyncioFuture[Any] | None = None
        self.actor_inbox.size_max = self.inbox_max
        self.actor_inbox.urn = self.actor_urn
        self._loop = asyncio.get_running_loop()
        self._children = Children(self.children_max, self._child_done)
        self._deferred = Deferred(self.deferred_max, self._lost, self._fail)
        self._tickers: list[Ticker] = []
        self._stops: list[AsyncioFuture[None]] = []
        self._failure: BaseException | None = None  # of a child or a told deferred: to be raised by the actor's task
        self._cause: BaseException | None = None
        self._ending = False
        self._on_death: Callable[[Death], None] | None = None
        self._task: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------ for whoever runs it

    def launch(
        self,
        *,
        name: str | None = None,
        observer: Observer | None = None,
        on_death: Callable[[Death], None] | None = None,
    ) -> ActorRef[Any]:
        """Start it under a name. `on_death` is called on the loop, once, whatever it dies of."""
        self.name = name if name is not None else self.name
        self.observer = observer if observer is not None else self.observer
        self._on_death = on_death
        ActorRegistry.register(self.actor_ref)
        self._start_actor_loop()
        return self.actor_ref

    def stop(self) -> None:
        """Send itself a Stop, without a reply. Does nothing when it has ended."""
        self.actor_inbox.offer(Envelope(Stop()))

    def kill(self) -> None:
        """Cancel its task: no further message is handled, `on_failure` is called with the CancelledError."""
        if self._task is not None:
            self._task.cancel()

    async def join(self) -> None:
        """Until it has ended and whoever watches has been told. Does not end it; whoever calls bounds it."""
        if self._task is not None:
            await asyncio.wait([self._task])
            await asyncio.sleep(0)  # the callbacks of a task run in the turn after its end

    # ------------------------------------------------------------------ Pykka's hooks for new actor types

    @staticmethod
    def _create_actor_inbox() -> AsyncioInbox:
        return AsyncioInbox(Lifecycle.inbox_max)

    @staticmethod
    def _create_future() -> AsyncioFuture[Any]:
        return AsyncioFuture()

    def _start_actor_loop(self) -> None:
        self.actor_inbox.name = self.name
        self._task = self._loop.create_task(self._live(), name=f"actor:{self.name}")
        self.actor_inbox.owner = self._task
        _running.add(self._task)
        self._task.add_done_callback(self._ended)

    # ------------------------------------------------------------------ life

    async def _live(self) -> None:
        try:
            await self.on_start()
            await self._receive()
            self._close()
            await self.on_stop()
            self._raise_failure()
        except (Exception, SystemExit) as exc:  # noqa: BLE001 - whatever it is, it is this actor's death
            self._cause = exc  # SystemExit too: whether the process ends is the supervisor's to say
            await self._take_cancellation()
        except asyncio.CancelledError as exc:
            self._cause = self._failure if self._failure is not None else exc
            await self._take_cancellation()
        except BaseException as exc:
            self._cause = exc
            raise
        finally:
            await self._tear_down()

    async def _receive(self) -> None:
        """Take messages until a Stop."""
        inbox, turn = self.actor_inbox, 0
        while True:
            self._raise_failure()
            if len(self._deferred) >= self.deferred_max:
                await self._deferred.room()
            envelope = inbox.pop()
            if envelope is None:
                await inbox.wait()
                turn = 0
                continue
            if type(envelope.message) is Stop:
                self._owe_stop(envelope)
                return
            await self._handle(envelope)
            turn += 1
            if turn >= MESSAGES_PER_TURN_MAX:
                await asyncio.sleep(0)
                turn = 0

    async def _handle(self, envelope: Envelope[Any]) -> None:
        reply: Any = envelope.reply_to
        if reply is not None and reply.done():
            self._dropped()  # its asker gave up before it was begun: the work would be for nobody
            return
        if type(envelope) is TickEnvelope:
            envelope.ticker.waiting = False
        if type(envelope.message) is Ping:
            if reply is not None:
                reply.set(True)
            return
        self.asker = reply
        started_s = perf_counter()
        try:
            handle = self._handle_proxy if isinstance(envelope.message, _PROXY_MESSAGES) else self.on_receive
            response = await handle(envelope.message)
        except BaseException as exc:  # noqa: BLE001 - answered or raised again, never kept
            self._answer_exception(reply, exc)
        else:
            if isinstance(response, _FUTURES):
                self._deferred.adopt(response, reply)
            elif reply is not None and not reply.done():
                reply.set(response)
        finally:
            self.handled_total += 1
            self.observer.handled(self.name, perf_counter() - started_s)

    async def _handle_proxy(self, message: Any) -> Any:
        response = self._handle_receive(message)
        return await response if inspect.iscoroutine(response) else response

    def _answer_exception(self, reply: AsyncioFuture[Any] | None, exc: BaseException) -> None:
        """To the asker if there is one; raise it again if there is none, or if it is the actor's own end."""
        cancelled = isinstance(exc, asyncio.CancelledError)
        # A cancellation is of the actor's own task, or of something that its handler awaited.
        killed = cancelled and self._task is not None and self._task.cancelling() > 0
        fatal = killed or not isinstance(exc, (Exception, asyncio.CancelledError))
        if fatal and reply is not None:
            self._answer_lost(reply)
        if fatal or reply is None:
            raise exc
        if not reply.done():
            reply.fail(exc)
        elif not cancelled:
            self._lost(exc, "an ask whose asker has gone")

    # ------------------------------------------------------------------ death

    def _fail(self, exc: BaseException) -> None:
        """End the actor by `exc`, wherever its task waits."""
        if self._ending:
            self._lost(exc, "the last moments")
        elif self._failure is None and self._task is not None:
            self._failure = exc
            self._task.cancel()

    def _raise_failure(self) -> None:
        if self._failure is not None:  # a handler took the cancellation for its own
            raise self._failure

    async def _take_cancellation(self) -> None:
        """What cancelled the task until now has had its effect, and must not cut the teardown short."""
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)  # one may be pending: it would come out of the first await of on_failure
        while self._task is not None and self._task.cancelling():
            self._task.uncancel()

    def _child_done(self, task: "asyncio.Task[Any]") -> None:
        if task.cancelled() or self._deferred.owes(task):
            return
        exc = task.exception()
        if exc is not None:
            self._fail(exc)

    async def _tear_down(self) -> None:
        self._close()
        if self._cause is not None:
            self._ending = True
            log.error("actor.failed", actor=self.name, error=repr(self._cause), exc_info=self._cause)
            self.observer.failed(self.name, self._cause)
            self._refuse_waiting()
            await self._run_on_failure(self._cause)
        self._ending = True
        await self._children.end()
        await asyncio.sleep(0)  # the deferred replies that the children completed are piped now
        for task in await self._children.end(self._deferred.abandon(self._reply_lost)):
            self._lost(TimeoutError(f"{task.get_name()} did not end when it was cancelled"), "a child task")

    def _close(self) -> None:
        """Pykka's order: first nobody finds it any more, then its last hook runs."""
        ActorRegistry.unregister(self.actor_ref)
        self.actor_stopped.set()
        for ticker in self._tickers:
            ticker.cancel()

    async def _run_on_failure(self, cause: BaseException) -> None:
        try:
            async with asyncio.timeout(self.failure_bound_s()):
                await self.on_failure(type(cause), cause, cause.__traceback__)
        except Exception as exc:  # noqa: BLE001 - it is dead already; the handler of the loop is told
            self._lost(exc, "on_failure")

    def _refuse_waiting(self) -> None:
        for envelope in self.actor_inbox.close():
            if type(envelope.message) is Stop:
                self._owe_stop(envelope)
            elif isinstance(envelope.reply_to, AsyncioFuture):
                self._answer_lost(envelope.reply_to)
            else:
                self._dropped()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """The task is over, in whatever way: nothing may wait for it any longer, and whoever watches is told."""
        _running.discard(task)
        exc = asyncio.CancelledError() if task.cancelled() else task.exception()
        cause = self._cause if self._cause is not None else exc
        self._ending = True
        self._close()
        self._refuse_waiting()
        self._deferred.abandon(self._reply_lost)
        self._children.cancel()  # none are left, unless the teardown was cut short
        for stop in self._stops:
            if not stop.done():
                stop.set(None)
        if self._on_death is not None:
            self._on_death(Death(self.name, cause))
        elif cause is not None and not isinstance(cause, asyncio.CancelledError):
            self._lost(cause, "the death, unsupervised,")

    def _owe_stop(self, envelope: Envelope[Any]) -> None:
        if isinstance(envelope.reply_to, AsyncioFuture):
            self._stops.append(envelope.reply_to)

    def _answer_lost(self, reply: AsyncioFuture[Any]) -> None:
        if not reply.done():
            reply.fail(self._reply_lost())

    def _reply_lost(self) -> ReplyLost:
        return ReplyLost(self.name, self.actor_urn)

    def _dropped(self) -> None:
        self.observer.dropped(self.name)

    def _lost(self, exc: BaseException, what: str) -> None:
        report_lost(self._loop, exc, actor=self.name, what=what)
