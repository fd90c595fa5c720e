"""The limits that several daemons share: one Lua script in Redis (or Valkey), asked with small timeouts.

What it is for: `take` on several buckets, all or none, by the server's clock; and which nodes are alive. What it is not: it
does not decide what happens when Redis is away. Every call answers `Away` then, within `call_timeout_s`, and the
`RateLimiter` falls back to its share. A call whose answer was lost may have taken its tokens: fewer messages leave, never more.

The script's keys carry one hash tag, so that a Redis Cluster keeps them together. A server that forgets the script (a
restart, SCRIPT FLUSH) is sent it again with the same call.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path
from typing import cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from dispatcher.actors.limits import Limited
from dispatcher.domain.buckets import Bucket, Want

CONNECT_TIMEOUT_S = 0.5
COMMAND_TIMEOUT_S = 0.5
NODE_TTL_S = 5.0
FRONT_LEASE_S = 2.0
_CHARGED_MAX = 200
_CONNECTIONS_MAX = 4

SCRIPT = Path(__file__).with_suffix(".lua").read_text(encoding="utf-8")
# Redis names scripts by their SHA-1; nothing is secured by it.
_SCRIPT_SHA = sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()

Word = str | int


@dataclass(frozen=True, slots=True)
class Away:
    """Redis did not do what was asked: it cannot be reached, is too slow, or refuses (full, loading, read-only)."""

    why: str


@dataclass(frozen=True, slots=True)
class Got:
    """All tokens were taken; `at_us` is the server's time then (microseconds since 1970; None: not by a server)."""

    at_us: int | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """None was taken: ask again in `wait_s`; `keys` are those to wait for."""

    wait_s: float
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Joined:
    """The node is known, one of `nodes_live` (1..), at the server's time `now_us` (microseconds since 1970)."""

    nodes_live: int
    now_us: int


class RedisLimits:
    """The buckets under `prefix` on the server at `url` (redis://, rediss://, unix://), as the node `node`.

    A call takes at most `CONNECT_TIMEOUT_S` + `COMMAND_TIMEOUT_S`. Raises ValueError for a URL that is none.
    """

    def __init__(self, url: str, node: str, *, prefix: str = "dispatcher", node_ttl_s: float = NODE_TTL_S) -> None:
        self.node = node
        self.node_ttl_s = node_ttl_s
        self._tag = f"{{{prefix}:limits}}"
        self._redis = Redis.from_url(
            url,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            socket_timeout=COMMAND_TIMEOUT_S,
            # One attempt a call: the caller has a better thing to do than to wait.
            retry=Retry(NoBackoff(), 0),
            max_connections=_CONNECTIONS_MAX,
            protocol=2,
            driver_info=None,
        )

    async def join(self) -> Joined | Away:
        """Say that this node is alive, for `node_ttl_s` seconds from now."""
        answer = await self._call([f"{self._tag}:nodes"], ["join", self.node, int(self.node_ttl_s * 1000)])
        return answer if isinstance(answer, Away) else Joined(max(1, answer[0]), answer[1])

    async def leave(self) -> None:
        """Say that this node is no longer; when that does not get through, its time runs out by itself."""
        await self._call([f"{self._tag}:nodes"], ["leave", self.node])

    async def take(self, limited: Limited, want: Want) -> Got | Wait | Away:
        """Take `want.n` from all, or none. `want.n` must not be over a bucket's burst (it would wait for ever)."""
        head: list[Word] = ["take", want.n, int(want.urgent), want.rank, want.patience_ns, int(FRONT_LEASE_S * 1e6)]
        answer = await self._call(self._keys(limited), [*head, *_buckets(limited)])
        if isinstance(answer, Away):
            return answer
        if answer[0]:
            return Got(answer[1])
        return Wait(answer[1] / 1e9, tuple(key for (key, _), short in zip(limited, answer[2:], strict=True) if short))

    async def forget(self, limited: Limited, rank: int) -> Away | None:
        """The one of this rank waits no longer."""
        return _away(await self._call(self._keys(limited), ["forget", rank]))

    async def give_back(self, limited: Limited, n: int) -> Away | None:
        """Return `n` tokens that were taken and not used."""
        return _away(await self._call(self._keys(limited), ["give_back", n, *_buckets(limited)]))

    async def charge(self, used: Sequence[tuple[str, Bucket, int]]) -> Away | None:
        """Book `(key, bucket, messages)` that were used while the server was away; each bucket at most to empty."""
        for start in range(0, len(used), _CHARGED_MAX):
            some = used[start : start + _CHARGED_MAX]
            words: list[Word] = ["charge"]
            for _, bucket, n in some:
                words += [n, bucket.token_ns, bucket.burst]
            away = _away(await self._call([self._key(key) for key, _, _ in some], words))
            if away is not None:
                return away
        return None

    async def hang_up(self) -> None:
        """Close the connections; the next call opens one."""
        await self._redis.connection_pool.disconnect()

    async def aclose(self) -> None:
        """Close for good."""
        await self._redis.aclose()

    def _key(self, key: str) -> str:
        return f"{self._tag}:{key}"

    def _keys(self, limited: Limited) -> list[str]:
        return [self._key(key) for key, _ in limited]

    async def _call(self, keys: Sequence[str], words: Sequence[Word]) -> list[int] | Away:
        try:
            # The client bounds each read and each connect; this bounds them together, name look-up included.
            async with asyncio.timeout(CONNECT_TIMEOUT_S + COMMAND_TIMEOUT_S):
                return await self._run(keys, words)
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            return Away(f"{type(error).__name__}: {error}".rstrip(": "))

    async def _run(self, keys: Sequence[str], words: Sequence[Word]) -> list[int]:
        args = [*keys, *(str(word) for word in words)]
        try:
            answer = await cast("Awaitable[object]", self._redis.evalsha(_SCRIPT_SHA, len(keys), *args))
        except NoScriptError:
            answer = await cast("Awaitable[object]", self._redis.eval(SCRIPT, len(keys), *args))
        return cast("list[int]", answer)


def _buckets(limited: Limited) -> list[Word]:
    return [word for _, bucket in limited for word in (bucket.token_ns, bucket.burst)]


def _away(answer: list[int] | Away) -> Away | None:
    return answer if isinstance(answer, Away) else None
