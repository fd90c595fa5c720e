"""What the types of the settings do not say: addresses that are addresses, and settings that have to fit each other."""

import ipaddress
import re
from urllib.parse import urlsplit

from dispatcher.config.errors import ConfigError
from dispatcher.config.settings import Provider, Settings
from dispatcher.config.shape import PREFIX

SECRET_KEY_CHARS_MIN = 32
_PROVIDER_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
# 3-11 letters and digits, or a number of 3-15 digits (GSM 03.40 TP-OA, and the providers' own rules).
_SENDER = re.compile(r"[A-Za-z0-9]{3,11}|\+?[0-9]{3,15}")
_HTTP = ("http", "https")
_SCHEMES = {"smpp": ("smpp", "smpps")}


def check(settings: Settings) -> Settings:
    """Answer the settings when they fit together. Raises ConfigError."""
    for name, provider in settings.providers.items():
        _check_provider(name, provider)
    _check_url("PUBLIC_BASE_URL", settings.public_base_url, _HTTP)
    for setting, given, schemes in (
        ("DATABASE_URL", settings.database_url, ("postgresql", "postgres")),
        ("REDIS_URL", settings.redis_url, ("redis", "rediss", "unix")),
    ):
        if given is not None:
            _check_url(setting, given.reveal(), schemes, host_needed=False)
    if settings.stripe.api_base is not None:
        _check_url("STRIPE__API_BASE", settings.stripe.api_base, _HTTP)
    _check_defaults(settings)
    _check_http(settings)
    if settings.stripe.secret_key is not None and settings.stripe.webhook_secret is None:
        problem = "it is not set, though STRIPE__SECRET_KEY is: what is paid would not be credited"
        raise ConfigError(f"{PREFIX}STRIPE__WEBHOOK_SECRET", problem, "set it to the signing secret of the endpoint")
    return settings


def require_for_run(settings: Settings) -> None:
    """What serving needs beyond what the other commands do. Raises ConfigError."""
    name = f"{PREFIX}SECRET_KEY"
    if settings.secret_key is None:
        raise ConfigError(name, "it is not set", "set it to 32 or more random characters (openssl rand -base64 48)")
    if len(settings.secret_key.reveal()) < SECRET_KEY_CHARS_MIN:
        raise ConfigError(name, f"it has fewer than {SECRET_KEY_CHARS_MIN} characters", "use: openssl rand -base64 48")
    if not settings.providers:
        remedy = "set KIND, BASE_URL and API_KEY of one"
        raise ConfigError(f"{PREFIX}PROVIDERS__MITTO__KIND", "no provider is configured", remedy)


def _check_provider(name: str, provider: Provider) -> None:
    above = f"PROVIDERS__{name.upper()}__"
    if not _PROVIDER_NAME.fullmatch(name):
        problem = "an account's name is a letter, then up to 31 letters, digits or _"
        raise ConfigError(f"{PREFIX}{above}KIND", problem, "rename the account")
    _check_url(f"{above}BASE_URL", provider.base_url, _SCHEMES.get(provider.kind, _HTTP))
    if not provider.api_key.reveal().strip():
        raise ConfigError(f"{PREFIX}{above}API_KEY", "it is empty", "set it to the key that the provider gave")


def _check_url(setting: str, url: str, schemes: tuple[str, ...], *, host_needed: bool = True) -> None:
    """Without the value in the error: it may hold a password."""
    wanted = f"write {schemes[0]}://host[:port]/..."
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ConfigError(PREFIX + setting, "it is not an address", wanted) from None  # its cause would show the value
    if parts.scheme not in schemes:
        raise ConfigError(PREFIX + setting, f"it is not an address that begins with {schemes[0]}://", wanted)
    if host_needed and not parts.hostname:
        raise ConfigError(PREFIX + setting, "the address names no host", wanted)
    if any(char.isspace() for char in url):
        raise ConfigError(PREFIX + setting, "there is a space in the address", wanted)


def _check_defaults(settings: Settings) -> None:
    default = settings.default_provider
    if default is not None and default not in settings.providers:
        known = ", ".join(sorted(settings.providers)) or "no account yet: configure one"
        raise ConfigError(f"{PREFIX}DEFAULT_PROVIDER", f"there is no account {default!r}", f"name one of: {known}")
    sender = settings.default_sender
    if sender is not None and not _SENDER.fullmatch(sender):
        remedy = "use 3 to 11 letters and digits without spaces, or a number of 3 to 15 digits"
        raise ConfigError(f"{PREFIX}DEFAULT_SENDER", f"{sender!r} cannot be a sender", remedy)


def _check_http(settings: Settings) -> None:
    for network in settings.http.trusted_proxies:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError as error:
            problem = f"{network!r} is neither an address nor a network"
            raise ConfigError(f"{PREFIX}HTTP__TRUSTED_PROXIES", problem, "write 10.0.0.0/8,192.168.1.5") from error
    if settings.metrics_port and settings.metrics_port == settings.http.port:
        problem = f"port {settings.metrics_port} is the API's"
        raise ConfigError(f"{PREFIX}METRICS_PORT", problem, "choose another, or unset it: the API serves /metrics too")
