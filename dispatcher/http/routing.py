"""Routes and who may use each: a handler is reachable only through a `Route`, and a Route names its access.

There is no app-wide authentication that a new route could slip by: `bind` makes the aiohttp handler from the access.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from aiohttp import web

from dispatcher.domain.credentials import TENANT_SCOPES
from dispatcher.http.auth import Authenticator, Operator, Tenant
from dispatcher.http.services import HttpServices

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Call:
    """A request of a tenant, and what its handler may use."""

    request: web.Request
    services: HttpServices
    tenant: Tenant


@dataclass(frozen=True, slots=True)
class AdminCall:
    """A request of an operator, and what its handler may use."""

    request: web.Request
    services: HttpServices
    operator: Operator


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A request without a login, and what its handler may use."""

    request: web.Request
    services: HttpServices


class Access(Enum):
    """Access other than by a tenant's scope."""

    PUBLIC = "public"  # anybody: probes, and pages for recipients
    SIGNED = "signed"  # the handler verifies the provider's signature over the raw body
    ADMIN = "admin"  # an operator's key


@dataclass(frozen=True, slots=True)
class Route:
    """A method and path, its handler, and who may call it: a tenant's scope, or an Access."""

    method: str
    path: str
    handler: Callable[[Any], Awaitable[web.StreamResponse]]
    access: str | Access

    def __post_init__(self) -> None:
        if isinstance(self.access, str) and self.access not in TENANT_SCOPES:
            raise ValueError(f"{self.method} {self.path}: there is no scope {self.access!r}")


def bind(route: Route, services: HttpServices, authenticator: Authenticator) -> Handler:
    """The aiohttp handler of a route: find out who asks, then call."""
    access, handler = route.access, route.handler
    if isinstance(access, str):

        async def for_tenant(request: web.Request) -> web.StreamResponse:
            return await handler(Call(request, services, await authenticator.tenant(request, access)))

        return for_tenant
    if access is Access.ADMIN:

        async def for_operator(request: web.Request) -> web.StreamResponse:
            return await handler(AdminCall(request, services, await authenticator.operator(request)))

        return for_operator

    async def for_anybody(request: web.Request) -> web.StreamResponse:
        return await handler(OpenCall(request, services))

    return for_anybody
