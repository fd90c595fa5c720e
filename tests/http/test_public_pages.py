"""The links in messages: opting out takes a press of a button, and no link changes anything by being opened."""

import pytest

from dispatcher.domain import codes
from dispatcher.http.public.pages import language
from tests.http.stand import Stand
from tests.storage.small_flow import PHONE, Flow, tell


def code_of(flow: Flow, n: int) -> str:
    """The link code of a message of the flow: four to a batch, suffixes counted from 1."""
    return codes.encode(flow.campaign_id * 100 + (n - 1) // 4, (n - 1) % 4 + 1)


async def suppressed(api: Stand) -> list[tuple[int, str]]:
    """Every suppression."""
    async with api.db.acquire() as conn:
        return [tuple(row) for row in await conn.fetch("SELECT phone, source FROM suppression ORDER BY 1")]


async def test_opening_the_link_asks_and_changes_nothing(api: Stand) -> None:
    """A small page with the store's name and one button; as often as it is opened."""
    path = f"/u/{code_of(await tell(api.db), 7)}"
    for _ in range(6):
        answer = await api.call("GET", path, key="")
        assert 200 == answer.status
    page = answer.body.decode()
    assert "Books &amp; More" in page
    assert '<form method="post"><button' in page
    assert "<script" not in page
    assert [] == await suppressed(api)


async def test_pressing_the_button_opts_out_and_says_so(api: Stand) -> None:
    """Once or more; the phone is the one of that message, in whichever batch it is."""
    flow = await tell(api.db)
    for n in (1, 10, 11, 10):
        answer = await api.call("POST", f"/u/{code_of(flow, n)}", key="")
        assert (200, True) == (answer.status, b"Done" in answer.body)
    assert [(PHONE + n, "link") for n in (1, 10, 11)] == await suppressed(api)


async def test_the_page_speaks_the_readers_language(api: Stand) -> None:
    """Greek for Greek browsers."""
    path = f"/u/{code_of(await tell(api.db), 1)}"
    page = (await api.call("GET", path, key="", headers={"Accept-Language": "el-GR,en;q=0.8"})).body.decode()
    assert '<html lang="el">' in page
    assert "Διακοπή" in page


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", "en"),
        ("el", "el"),
        ("en,el;q=0.9", "en"),
        ("de,el;q=0.2", "el"),
        ("el;q=x", "en"),
        ("el;q=0", "en"),
        ("*", "en"),
    ],
)
def test_the_language_with_the_most_weight_is_taken(header: str, expected: str) -> None:
    """RFC 9110 section 12.5.4; English when nothing fits."""
    assert expected == language(header)


async def test_a_code_that_was_never_given_is_a_friendly_404(api: Stand) -> None:
    """A page, not a problem; the same for POST."""
    for code in ("x", "00000000000", "ZZZZZZZZZZZ", "AAAA!AAAAAA", "A" * 500):
        for method, where in (("GET", "u"), ("GET", "s"), ("POST", "u")):
            answer = await api.call(method, f"/{where}/{code}", key="")
            assert (404, "text/html") == (answer.status, answer.headers["Content-Type"].split(";")[0])


async def test_a_page_may_load_nothing_but_its_own_style(api: Stand) -> None:
    """The policy names the style by its hash: no script, no frame, no other origin."""
    headers = (await api.call("GET", f"/u/{code_of(await tell(api.db), 1)}", key="")).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'; style-src 'sha256-" in policy
    assert "form-action 'self'" in policy
    assert "unsafe" not in policy
    assert "no-store" == headers["Cache-Control"]


async def test_a_short_link_leads_where_the_campaign_says(api: Stand) -> None:
    """302 to the campaign's link; 404 when it has none."""
    flow = await tell(api.db)
    path = f"/s/{code_of(flow, 1)}"
    assert 404 == (await api.call("GET", path, key="")).status
    async with api.db.acquire() as conn:
        await conn.execute("UPDATE campaign SET link_url = 'https://example.com/a?b=1&c=2'")
    answer = await api.call("GET", path, key="")
    assert (302, "https://example.com/a?b=1&c=2") == (answer.status, answer.headers["Location"])
