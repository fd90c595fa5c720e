"""Actors on one asyncio loop, on top of Pykka: what the rest of the package may use of it. See docs/actors.md."""

from dispatcher.actors.runtime.actor import AsyncioActor
from dispatcher.actors.runtime.address import Address
from dispatcher.actors.runtime.children import ActorExit, Ticker
from dispatcher.actors.runtime.death import Death
from dispatcher.actors.runtime.errors import ActorUnavailable, InboxFull, ReplyLost, Why
from dispatcher.actors.runtime.future import AsyncioFuture
from dispatcher.actors.runtime.inbox import AsyncioInbox
from dispatcher.actors.runtime.lost import report_lost, watch_lost
from dispatcher.actors.runtime.observer import SILENT, Observer
from dispatcher.actors.runtime.signals import Ping, Stop

__all__ = [
    "SILENT",
    "ActorExit",
    "ActorUnavailable",
    "Address",
    "AsyncioActor",
    "AsyncioFuture",
    "AsyncioInbox",
    "Death",
    "InboxFull",
    "Observer",
    "Ping",
    "ReplyLost",
    "Stop",
    "Ticker",
    "Why",
    "report_lost",
    "watch_lost",
]
