"""The small pages that recipients see, in English and Greek: plain HTML that works without scripts, under a strict policy.

No template engine: there are three pages. Everything that is not a constant here is escaped.
"""

from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from html import escape
from typing import Final

from aiohttp import web

_STYLE: Final = (
    "body{font:18px/1.5 system-ui,sans-serif;max-width:32rem;margin:15vh auto 0;padding:0 1.25rem;color:#1c1c1e}"
    "h1{font-size:1.35rem}button{font:inherit;padding:.6rem 1.4rem;border:0;border-radius:.4rem;background:#b3261e;"
    "color:#fff;cursor:pointer}button:focus-visible{outline:3px solid #1c1c1e;outline-offset:2px}"
)
_STYLE_HASH: Final = b64encode(sha256(_STYLE.encode()).digest()).decode()
_HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Robots-Tag": "noindex, nofollow",
    "Vary": "Accept-Language",
}

_WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "en": {
        "ask_title": "Stop messages from {store}",
        "ask_text": "You will get no more text messages from {store}.",
        "button": "Stop the messages",
        "done_title": "Done",
        "done_text": "You will get no more text messages from {store}.",
        "gone_title": "This link does not lead anywhere",
        "gone_text": "It may be incomplete. Please open it again from the message, without changes.",
    },
    "el": {
        "ask_title": "Διακοπή μηνυμάτων από {store}",
        "ask_text": "Δεν θα λαμβάνετε πλέον μηνύματα SMS από {store}.",
        "button": "Διακοπή των μηνυμάτων",
        "done_title": "Έγινε",
        "done_text": "Δεν θα λαμβάνετε πλέον μηνύματα SMS από {store}.",
        "gone_title": "Ο σύνδεσμος δεν οδηγεί πουθενά",
        "gone_text": "Ίσως δεν είναι πλήρης. Ανοίξτε τον ξανά από το μήνυμα, χωρίς αλλαγές.",
    },
}


def language(accept_language: str) -> str:
    """The page's language for an Accept-Language header (RFC 9110 section 12.5.4): the one of ours with the most weight."""
    best, best_weight = "en", 0.0
    for item in accept_language[:500].split(","):
        tag, _, parameter = item.strip().partition(";")
        ours = tag.strip().lower().partition("-")[0]
        weight = _weight(parameter)
        if ours in _WORDS and weight > best_weight:
            best, best_weight = ours, weight
    return best


def _weight(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return min(float(value), 1.0)
    except ValueError:
        return 0.0


def ask(store: str, lang: str) -> web.Response:
    """The question, and a button that posts to the same address. Showing it changes nothing."""
    words = _WORDS[lang]
    form = f'<form method="post"><button type="submit">{escape(words["button"])}</button></form>'
    return _page(lang, "ask", store, form)


def done(store: str, lang: str) -> web.Response:
    """What was asked for is so from now on."""
    return _page(lang, "done", store)


def gone(lang: str) -> web.Response:
    """The link is none of ours."""
    return _page(lang, "gone", "", status=404)


def _page(lang: str, name: str, store: str, more: str = "", status: int = 200) -> web.Response:
    words = _WORDS[lang]
    title = escape(words[f"{name}_title"].replace("{store}", store))
    text = escape(words[f"{name}_text"].replace("{store}", store))
    html = (
        f'<!doctype html><html lang="{lang}"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body><main><h1>{title}</h1><p>{text}</p>{more}</main></body></html>"
    )
    return web.Response(text=html, status=status, content_type="text/html", headers=_HEADERS)
