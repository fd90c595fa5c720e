"""Metrics: the names that dashboards use, on a registry of one's own, with a bounded number of series."""

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from dispatcher.actors.runtime import Observer
from dispatcher.observability.labels import OTHER, Children
from dispatcher.observability.metrics import Metrics

# The contract's list. A counter's name ends in _total where it is read.
CONTRACT = {
    "dispatcher_messages_total": ("state", "provider"),
    "dispatcher_batches_total": ("outcome", "provider"),
    "dispatcher_submit_seconds": (),
    "dispatcher_dlr_total": ("status", "provider"),
    "dispatcher_dlr_lag_seconds": (),
    "dispatcher_dlr_unmatched": (),
    "dispatcher_limiter_wait_seconds": (),
    "dispatcher_wallet_credits": ("account",),
    "dispatcher_actor_mailbox_depth": ("actor",),
    "dispatcher_actor_restarts_total": ("actor",),
    "dispatcher_actor_handle_seconds": ("actor",),
    "dispatcher_sent_twice_total": (),
    "dispatcher_unknown_messages": (),
    "dispatcher_webhook_requests_total": ("source", "status"),
    "dispatcher_db_pool_in_use": ("pool",),
    "dispatcher_build_info": ("version", "python"),
}


def used() -> Metrics:
    """With every metric touched once."""
    metrics = Metrics()
    metrics.messages("accepted", "mitto").inc(5000)
    metrics.batch("recorded", "mitto").inc()
    metrics.dlr("delivered", "mitto").inc(2)
    metrics.webhook("mitto", 202).inc()
    metrics.wallet("held").set(17)
    metrics.mailbox("WalletLedger").set(3)
    metrics.pool("main").set(4)
    metrics.submit_seconds.observe(0.2)
    metrics.limiter_wait_seconds.observe(0.2)
    metrics.dlr_lag_seconds.observe(1.5)
    metrics.dlr_unmatched.set(1)
    metrics.unknown_messages.set(2)
    metrics.handled("WalletLedger", 0.001)
    metrics.restarted("WalletLedger")
    metrics.dropped("WalletLedger")
    return metrics


def series(metrics: Metrics) -> dict[str, set[str]]:
    """Each metric's samples (without histograms' suffixes) and their labels."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(generate_latest(metrics.registry).decode()):
        for sample in family.samples:
            name = sample.name
            for suffix in ("_bucket", "_sum", "_count"):
                name = name.removesuffix(suffix)
            found.setdefault(name, set()).update(set(sample.labels) - {"le"})
    return found


def test_the_contracts_metrics_exist_with_their_labels() -> None:
    """A dashboard made from the contract finds all of them."""
    found = series(used())
    assert {name: set(labels) for name, labels in CONTRACT.items()} == {name: found.get(name) for name in CONTRACT}


def test_every_metric_of_ours_is_named_after_the_product() -> None:
    """Only the interpreter's and the process's have other prefixes."""
    assert {"dispatcher", "process", "python"} == {name.split("_", 1)[0] for name in series(used())}


def test_what_must_stay_zero_is_there_before_anything_happened() -> None:
    """An alarm on a series that does not exist never rings."""
    assert 0.0 == Metrics().registry.get_sample_value("dispatcher_sent_twice_total")


def test_an_actors_counts_begin_at_zero_and_go_on() -> None:
    """Restarts and dropped hints are there before the first; naming an actor again changes no count."""
    metrics = Metrics()
    metrics.actors(["WalletLedger", "HttpServer"])
    metrics.restarted("HttpServer")
    metrics.actors(["HttpServer"])
    names = ("WalletLedger", "HttpServer")
    for series_name, expected in (
        ("dispatcher_actor_restarts_total", [0.0, 1.0]),
        ("dispatcher_actor_dropped_total", [0.0, 0.0]),
    ):
        assert expected == [metrics.registry.get_sample_value(series_name, {"actor": name}) for name in names]


def test_counts_are_found_where_they_were_made() -> None:
    """By label values."""
    metrics = used()
    metrics.messages("accepted", "mitto").inc(1)
    labels = {"state": "accepted", "provider": "mitto"}
    assert 5001.0 == metrics.registry.get_sample_value("dispatcher_messages_total", labels)


def test_two_daemons_in_one_process_share_nothing() -> None:
    """Each has its registry."""
    used()
    assert 0.0 == Metrics().registry.get_sample_value("dispatcher_unknown_messages")


def test_the_actor_runtime_can_tell_them() -> None:
    """Metrics is the observer that the runtime asks for."""
    observer: Observer = Metrics()
    observer.failed("WalletLedger", RuntimeError("counted as a restart"))


def test_new_label_values_without_end_are_counted_together() -> None:
    """A provider that makes up a new status word each time fills no memory."""
    metrics = Metrics()
    for n in range(400):
        metrics.dlr(f"word-{n}", "mitto").inc()
    family = next(one for one in metrics.registry.collect() if one.name == "dispatcher_dlr")
    counted = [sample for sample in family.samples if sample.name == "dispatcher_dlr_total"]
    assert (257, 400.0) == (len(counted), sum(sample.value for sample in counted))


@pytest.mark.parametrize("children_max", [1, 3])
def test_a_known_child_stays_itself_when_the_bound_is_reached(children_max: int) -> None:
    """What came first keeps its own count."""
    made: list[tuple[str, ...]] = []

    def make(*values: str) -> tuple[str, ...]:
        made.append(values)
        return values

    children = Children(make, children_max)
    for n in range(5):
        children(str(n), "x")
    assert [("0", "x"), (OTHER, OTHER)] == [children("0", "x"), children("99", "x")]
    assert children_max + 1 == len(made)
