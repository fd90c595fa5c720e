"""Links in messages: the opt-out link and the short link. A code is all that a recipient needs, and all that is known.

GET never changes anything: previews and scanners open links too.
"""

from aiohttp import web

from dispatcher.domain import codes
from dispatcher.http.public import pages
from dispatcher.http.routing import Access, OpenCall, Route
from dispatcher.storage import links, suppressions


async def ask_to_stop(call: OpenCall) -> web.Response:
    """The page that asks whether the messages are to stop."""
    target, lang = await _target(call), _language(call)
    return pages.gone(lang) if target is None else pages.ask(target.tenant_name, lang)


async def stop(call: OpenCall) -> web.Response:
    """The messages stop; doing it again changes nothing."""
    target, lang = await _target(call), _language(call)
    if target is None:
        return pages.gone(lang)
    async with call.services.db.acquire() as conn:
        await suppressions.insert(conn, target.tenant_id, target.phone, "link")
    return pages.done(target.tenant_name, lang)


async def follow(call: OpenCall) -> web.Response:
    """302 to where the campaign's link leads; a friendly 404 when the code or the link is not there."""
    target = await _target(call)
    if target is None or target.link_url is None:
        return pages.gone(_language(call))
    return web.Response(status=302, headers={"Location": target.link_url})


async def _target(call: OpenCall) -> links.Target | None:
    decoded = codes.decode(call.request.match_info["code"])
    if decoded is None:
        return None
    async with call.services.db.acquire() as conn:
        return await links.resolve(conn, *decoded)


def _language(call: OpenCall) -> str:
    return pages.language(call.request.headers.get("Accept-Language", ""))


ROUTES = (
    Route("GET", "/u/{code}", ask_to_stop, Access.PUBLIC),
    Route("POST", "/u/{code}", stop, Access.PUBLIC),
    Route("GET", "/s/{code}", follow, Access.PUBLIC),
)
