"""The names of Pykka that the runtime leans on, private ones among them: a Pykka that moves one fails here first."""

import inspect

import pykka
from pykka import _envelope, messages

from dispatcher.actors.runtime import AsyncioActor, AsyncioFuture, AsyncioInbox, Stop


def test_the_hooks_for_new_actor_types_are_where_they_were() -> None:
    """`_create_actor_inbox` and `_create_future` take nothing, `_start_actor_loop` only the actor; all are abstract."""
    hooks = {"_create_actor_inbox", "_create_future", "_start_actor_loop"}
    assert hooks == pykka.Actor.__abstractmethods__
    assert [str(inspect.signature(getattr(pykka.Actor, name))) for name in sorted(hooks)] == [
        "() -> 'ActorInbox'",
        "() -> 'Future[Any]'",
        "(self) -> 'None'",
    ]


def test_messages_and_envelopes_are_what_they_were() -> None:
    """The stop message has no fields, an envelope two."""
    assert Stop is messages._ActorStop
    assert Stop._fields == ()
    assert _envelope.Envelope.__slots__ == ["message", "reply_to"]
    assert messages.ProxyCall._fields == ("attr_path", "args", "kwargs")
    assert messages.ProxyGetAttr._fields == ("attr_path",)
    assert messages.ProxySetAttr._fields == ("attr_path", "value")


def test_handle_receive_returns_what_a_proxy_call_returns() -> None:
    """So that a coroutine can be awaited by the actor's own loop."""
    assert list(inspect.signature(pykka.Actor._handle_receive).parameters) == ["self", "message"]


async def test_a_ref_takes_inbox_flag_and_class_from_the_actor() -> None:
    """`ActorRef` puts into `actor_inbox`, believes `actor_stopped`, makes futures by the class."""

    actor = AsyncioActor()
    ref = actor.actor_ref
    assert ref.actor_inbox is actor.actor_inbox
    assert isinstance(ref.actor_inbox, AsyncioInbox)
    assert ref.actor_stopped is actor.actor_stopped
    assert isinstance(ref.actor_class._create_future(), AsyncioFuture)


def test_a_future_keeps_its_hook_where_it_did() -> None:
    """Pykka's derived futures (`map`, `ActorRef.stop`) are hooks, found by this attribute."""
    future: pykka.Future[int] = pykka.Future()
    assert future._get_hook is None
    future.set_get_hook(lambda timeout: 1)
    assert (future._get_hook is not None, future.get()) == (True, 1)


def test_no_hook_of_pykkas_loop_is_called_that_is_not_ours() -> None:
    """The runtime runs its own loop: these exist in Pykka, and nothing but Pykka's own loop calls them."""
    theirs = {name for name in vars(pykka.Actor) if name.startswith("_actor_loop")}
    assert theirs == {"_actor_loop", "_actor_loop_setup", "_actor_loop_running", "_actor_loop_teardown"}
    callers = inspect.getsource(pykka.Actor)
    assert callers.count("self._actor_loop(") == 0
