"""The metrics, under the names that dashboards use (the contract). Every label's values are a bounded set.

A `Metrics` has a registry of its own, so that a test or a second daemon in one process shares nothing. What has no event of
its own (wallets, pools, inboxes, what the database counts) is set by whoever reads it, at the times it chooses.
"""

import platform
from collections.abc import Iterable
from importlib.metadata import version

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from dispatcher.observability.labels import Children

# Upper ends of the buckets, in seconds.
_ANSWERS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_LAGS_S = (0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400)
_HANDLES_S = (0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)


class Metrics:
    """All metrics of one daemon. Its methods take label values and answer the child to count on."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._sending()
        self._reporting()
        self._running()

    def _sending(self) -> None:
        r = self.registry
        messages = Counter(
            "dispatcher_messages", "Messages by the state they reached", ["state", "provider"], registry=r
        )
        self._messages = Children(messages.labels)
        batches = Counter("dispatcher_batches", "Batches by what became of them", ["outcome", "provider"], registry=r)
        self._batches = Children(batches.labels)
        self.submit_seconds = Histogram(
            "dispatcher_submit_seconds", "A provider's answer to a submit", buckets=_ANSWERS_S, registry=r
        )
        self.limiter_wait_seconds = Histogram(
            "dispatcher_limiter_wait_seconds", "What a batch waited for its tokens", buckets=_ANSWERS_S, registry=r
        )
        self.sent_twice = Counter(
            "dispatcher_sent_twice", "Messages that a provider took a second time; must stay 0", registry=r
        )
        self.unknown_messages = Gauge("dispatcher_unknown_messages", "Messages whose outcome is not known", registry=r)
        wallet = Gauge("dispatcher_wallet_credits", "Credits in all wallets", ["account"], registry=r)
        self._wallet = Children(wallet.labels)

    def _reporting(self) -> None:
        r = self.registry
        dlr = Counter("dispatcher_dlr", "Delivery reports received", ["status", "provider"], registry=r)
        self._dlr = Children(dlr.labels)
        self.dlr_lag_seconds = Histogram(
            "dispatcher_dlr_lag_seconds",
            "From the provider's time of a report to its being applied (the oldest of each group)",
            buckets=_LAGS_S,
            registry=r,
        )
        self.dlr_unmatched = Gauge("dispatcher_dlr_unmatched", "Reports whose message is not known here", registry=r)
        webhooks = Counter("dispatcher_webhook_requests", "Webhooks received", ["source", "status"], registry=r)
        self._webhooks = Children(webhooks.labels)
        self.http_connections = Gauge("dispatcher_http_connections", "HTTP connections that are open", registry=r)
        cut = Counter("dispatcher_http_cut", "Clients that were cut off", ["why"], registry=r)
        self._http_cut = Children(cut.labels)
        for why in ("full", "header", "body"):
            self._http_cut(why)

    def _running(self) -> None:
        r = self.registry
        mailbox = Gauge(
            "dispatcher_actor_mailbox_depth", "Messages that wait in an actor's inbox", ["actor"], registry=r
        )
        self._mailbox = Children(mailbox.labels)
        restarts = Counter("dispatcher_actor_restarts", "Restarts of an actor", ["actor"], registry=r)
        self._restarts = Children(restarts.labels)
        handle = Histogram(
            "dispatcher_actor_handle_seconds",
            "What an actor took for a message",
            ["actor"],
            buckets=_HANDLES_S,
            registry=r,
        )
        self._handle = Children(handle.labels)
        dropped = Counter("dispatcher_actor_dropped", "Hints that found no room or nobody", ["actor"], registry=r)
        self._dropped = Children(dropped.labels)
        pool = Gauge("dispatcher_db_pool_in_use", "Database connections that are lent", ["pool"], registry=r)
        self._pool = Children(pool.labels)
        self.ready = Gauge("dispatcher_ready", "1 while /readyz answers 200", registry=r)
        build = Gauge("dispatcher_build_info", "What is running", ["version", "python"], registry=r)
        build.labels(version("dispatcher"), platform.python_version()).set(1)

    def messages(self, state: str, provider: str) -> Counter:
        """Messages that reached a state at a provider account."""
        return self._messages(state, provider)

    def batch(self, outcome: str, provider: str) -> Counter:
        """Batches by outcome: recorded, returned, halved, unknown, crashed."""
        return self._batches(outcome, provider)

    def dlr(self, status: str, provider: str) -> Counter:
        """Reports by what they say."""
        return self._dlr(status, provider)

    def webhook(self, source: str, status: int) -> Counter:
        """Webhook requests by source (mitto, stripe, ...) and the status they were answered with."""
        return self._webhooks(source, str(status))

    def http_cut(self, why: str) -> Counter:
        """Clients that were cut off: `full` (too many connections), `header` or `body` (not sent in time)."""
        return self._http_cut(why)

    def wallet(self, account: str) -> Gauge:
        """Credits of all tenants: available or held."""
        return self._wallet(account)

    def mailbox(self, actor: str) -> Gauge:
        """Messages in an actor's inbox."""
        return self._mailbox(actor)

    def actors(self, names: Iterable[str]) -> None:
        """These actors are there: their counts of restarts and of dropped hints begin at 0.

        An alarm on an increase never rings at a series that comes into being with its first event.
        """
        for name in names:
            self._restarts(name)
            self._dropped(name)

    def pool(self, pool: str) -> Gauge:
        """Lent connections of a pool."""
        return self._pool(pool)

    # The actor runtime's observer (dispatcher.actors.runtime.Observer).

    def handled(self, actor: str, seconds: float) -> None:
        """An actor took `seconds` for a message."""
        self._handle(actor).observe(seconds)

    def restarted(self, actor: str) -> None:
        """An actor was started again."""
        self._restarts(actor).inc()

    def failed(self, actor: str, exc: BaseException) -> None:
        """An actor died; its restart is what is counted."""

    def dropped(self, actor: str) -> None:
        """A hint to an actor found no room."""
        self._dropped(actor).inc()
