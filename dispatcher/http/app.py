"""The aiohttp application: every route of `ROUTES`, each bound to its access, behind one thin edge.

Adding a resource is adding its module's ROUTES here. A route that is registered in any other way fails a test.
"""

from typing import Final

from aiohttp import web

from dispatcher.http import probes
from dispatcher.http.api import admin, campaigns, contacts, imports, messages, suppressions, wallet
from dispatcher.http.auth import Authenticator
from dispatcher.http.edge import edge
from dispatcher.http.public import links
from dispatcher.http.routing import Route, bind
from dispatcher.http.services import SERVICES, HttpServices
from dispatcher.http.webhooks import providers
from dispatcher.http.webhooks.courier import COURIER, Courier

# imports before contacts: contacts/imports is no contact's id.
ROUTES: Final[tuple[Route, ...]] = (
    *providers.ROUTES,
    *probes.ROUTES,
    *links.ROUTES,
    *imports.ROUTES,
    *contacts.ROUTES,
    *suppressions.ROUTES,
    *campaigns.ROUTES,
    *messages.ROUTES,
    *wallet.ROUTES,
    *admin.ROUTES,
)


def create_app(services: HttpServices) -> web.Application:
    """The application. It starts and stops nothing of what `services` names."""
    body_bytes_max = max(services.settings.http.max_body_bytes, providers.BODY_BYTES_MAX)
    app = web.Application(middlewares=[edge], client_max_size=body_bytes_max)
    app[SERVICES] = services
    app[COURIER] = Courier(services.reconciler)
    authenticator = Authenticator(services.db, services.clock.monotonic_s)
    for route in ROUTES:
        handler = bind(route, services, authenticator)
        if route.method == "GET":
            app.router.add_get(route.path, handler)  # and HEAD
        else:
            app.router.add_route(route.method, route.path, handler)
    return app
