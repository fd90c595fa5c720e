"""The settings as types: names, defaults, ranges. Reading them from the environment and files is `loading.py`.

A setting `a.b` is `DISPATCHER_A__B` in the environment and `b` under `[a]` in the TOML file. The names are the contract's.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from dispatcher.config.secret import Secret

Port = Annotated[int, Meta(ge=0, le=65535)]


class _Group(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Unknown names are errors: a setting with a typing mistake must not be silently nothing."""


class Http(_Group, frozen=True):
    """The HTTP server. `port` 0: any free port. `trusted_proxies`: addresses or networks whose X-Forwarded-For counts.

    `connections_max`: open at one time; what comes beyond is closed at once. The process needs a file descriptor for each
    (LimitNOFILE in its unit), and some for the database.
    """

    host: str = "127.0.0.1"
    port: Port = 8080
    trusted_proxies: tuple[str, ...] = ()
    max_body_bytes: Annotated[int, Meta(ge=1024, le=1 << 30)] = 1 << 20
    max_import_bytes: Annotated[int, Meta(ge=1024, le=1 << 34)] = 256 << 20
    connections_max: Annotated[int, Meta(ge=1, le=1_000_000)] = 4096


class Provider(_Group, frozen=True):
    """A provider account. Rates and sizes count messages. `burst_s`: seconds of the rate that may leave at once.

    `not_taken_statuses`: the HTTP statuses by which this provider says that it took nothing, so that a batch may be sent
    again; not set, the provider's own list. `webhook_secret_old` is accepted too, while the secret is being changed.
    """

    kind: Literal["mitto", "twilio", "vonage", "smpp"]
    base_url: str
    api_key: Secret
    traffic_account_id: str = ""
    webhook_secret: Secret | None = None
    webhook_secret_old: Secret | None = None
    rate_per_s: Annotated[float, Meta(gt=0, le=1_000_000)] = 100.0
    burst_s: Annotated[float, Meta(gt=0, le=60)] = 1.0
    batch_size: Annotated[int, Meta(ge=1, le=50_000)] = 5000
    timeout_s: Annotated[float, Meta(gt=0, le=600)] = 30.0
    connect_timeout_s: Annotated[float, Meta(gt=0, le=60)] = 5.0
    max_in_flight: Annotated[int, Meta(ge=1, le=64)] = 4
    not_taken_statuses: tuple[Annotated[int, Meta(ge=400, le=599)], ...] | None = None


class Stripe(_Group, frozen=True):
    """Stripe's account. Without a secret key nothing is sold."""

    secret_key: Secret | None = None
    webhook_secret: Secret | None = None
    api_base: str | None = None


class DatabasePool(_Group, frozen=True):
    """Connections of one process, and what a statement may take."""

    size_max: Annotated[int, Meta(ge=4, le=200)] = 16
    dlr_size_max: Annotated[int, Meta(ge=3, le=50)] = 4
    statement_timeout_s: Annotated[float, Meta(gt=0, le=3600)] = 30.0


class Settings(_Group, frozen=True):
    """Everything that can be set. Times end in `_s` (seconds); rates count messages.

    `lease_s`: how long a claimed batch is its owner's without a sign of life. `unknown_after_s`: after how long a message
    whose outcome is not known is closed by the tenant's policy. `drain_timeout_s`: what a stop waits for batches in flight.
    """

    database_url: Secret | None = None
    state_dir: str | None = None
    redis_url: Secret | None = None
    http: Http = Http()
    db: DatabasePool = DatabasePool()
    public_base_url: str = "http://127.0.0.1:8080"
    secret_key: Secret | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"
    metrics_port: Port | None = None
    providers: dict[str, Provider] = {}
    default_provider: str | None = None
    default_sender: str | None = None
    stripe: Stripe = Stripe()
    tenant_rate_per_s: Annotated[float, Meta(gt=0, le=1_000_000)] | None = None
    drain_timeout_s: Annotated[float, Meta(ge=0, le=3600)] = 30.0
    unknown_after_s: Annotated[float, Meta(gt=0, le=2_592_000)] = 86_400.0
    lease_s: Annotated[float, Meta(ge=1, le=600)] = 15.0

    def the_default_provider(self) -> str | None:
        """The provider of a campaign that names none: the setting, or the only one there is."""
        if self.default_provider is not None:
            return self.default_provider
        return next(iter(self.providers)) if len(self.providers) == 1 else None
