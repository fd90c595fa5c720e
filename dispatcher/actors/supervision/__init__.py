"""Supervision: the tree of actors, its restarts and its end. Pykka has none of this. See docs/actors.md."""

from dispatcher.actors.supervision.child import ChildSpec
from dispatcher.actors.supervision.info import (
    ActorInfo,
    StartFailed,
    State,
    TooManyDeaths,
    Unhealthy,
    Unkillable,
    UnknownActor,
)
from dispatcher.actors.supervision.rules import RestartBackoff, RestartBudget, Strategy
from dispatcher.actors.supervision.supervisor import Restart, Supervisor
from dispatcher.actors.supervision.tree import Tree

__all__ = [
    "ActorInfo",
    "ChildSpec",
    "Restart",
    "RestartBackoff",
    "RestartBudget",
    "StartFailed",
    "State",
    "Strategy",
    "Supervisor",
    "TooManyDeaths",
    "Tree",
    "Unhealthy",
    "Unkillable",
    "UnknownActor",
]
