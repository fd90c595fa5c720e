"""Whether the addresses that the settings name can be listened on: asked before anything is started. Part of the composition
root.

What it is for: a port that is taken is told in one line, not by an actor that dies over and over. What it is not: a
reservation; who takes the port between this and the start is the start's error.
"""

import asyncio
import errno
import socket
from collections.abc import Collection

from dispatcher.config import ConfigError, Settings

_HTTP_PORT = "DISPATCHER_HTTP__PORT"
_HOST = "DISPATCHER_HTTP__HOST"
_METRICS_PORT = "DISPATCHER_METRICS_PORT"


async def require_ports(settings: Settings, roles: Collection[str]) -> None:
    """Raises ConfigError, naming the setting, for a port or address that this process could not listen on.

    Port 0 (any free one) is always fine; the HTTP port is only asked for when the roles include the API.
    """
    host, metrics_port = settings.http.host, settings.metrics_port
    wanted = [(_HTTP_PORT, settings.http.port)] if "api" in roles else []
    if metrics_port is not None:
        if metrics_port and metrics_port in [port for _, port in wanted]:
            raise ConfigError(_METRICS_PORT, f"{metrics_port} is the port of {_HTTP_PORT}", "give another port")
        wanted.append((_METRICS_PORT, metrics_port))
    for setting, port in wanted:
        await _require(setting, host, port)


async def _require(setting: str, host: str, port: int) -> None:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise ConfigError(
            _HOST, f"{host} is no address: {error.strerror}", "give an address of this machine"
        ) from error
    for family, kind, protocol, _, address in found:
        try:
            _bind(family, kind, protocol, address)
        except OSError as error:
            raise _explained(error, setting, host, port) from error


def _bind(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> None:
    """Bind as the servers will, and let go. Raises OSError.

    With SO_REUSEADDR the connections of a former process, which the kernel remembers for a minute, are no obstacle; one
    that still listens is.
    """
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe.bind(address)


def _explained(error: OSError, setting: str, host: str, port: int) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        return ConfigError(setting, f"something listens on {host} port {port} already", "end it, or give another port")
    if error.errno == errno.EACCES:
        remedy = "give one from 1024 on, or allow it (CAP_NET_BIND_SERVICE)"
        return ConfigError(setting, f"port {port} is for privileged processes", remedy)
    if error.errno == errno.EADDRNOTAVAIL:
        return ConfigError(_HOST, f"{host} is not an address of this machine", "give one that is, or 0.0.0.0 for all")
    return ConfigError(_HOST, f"nothing can listen on {host} port {port}: {error.strerror}", "give another address")
