"""The Lua script is the same arithmetic as `domain.buckets`: both are asked the same, and must answer the same."""

import uuid

from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis

from dispatcher.actors.redis_limits import SCRIPT
from dispatcher.domain.buckets import FULL, Bucket, Level, OverBurst, Short, Taken, Want, take, without_front

BUCKETS = (Bucket(7.0, 10), Bucket(900.0, 35))
START_US = 1_700_000_000_000_000
# The script with the test's clock for the server's, and without expiry, which would go by the real one.
CLOCK = "test:clock"
SCRIPT_UNDER_TEST = SCRIPT.replace("redis.call('TIME')", f"redis.call('LRANGE', '{CLOCK}', 0, 1)").replace(
    "'PEXPIRE'", "'EXISTS'"
)

STEPS = st.lists(
    st.tuples(
        st.one_of(st.just(0), st.integers(1, 2_000_000)),  # microseconds since the last
        st.sampled_from([(0,), (1,), (0, 1)]),  # which buckets
        st.integers(1, 10),  # n
        st.booleans(),  # urgent
        st.integers(0, 5),  # rank: a few, so that the same one asks again
        st.sampled_from([0, 10**9, 60 * 10**9]),  # patience
        st.booleans(),  # give up if refused
    ),
    min_size=1,
    max_size=25,
)


@given(STEPS)
@settings(max_examples=60, deadline=None)
def test_the_script_and_the_domain_answer_alike(
    valkey_url: str, steps: list[tuple[int, tuple[int, ...], int, bool, int, int, bool]]
) -> None:
    """Taken or not, how long to wait, for which buckets; with fronts, urgency, patience, and waiters that go away."""
    assert SCRIPT_UNDER_TEST.count(CLOCK) == 1
    prefix, now_us, levels = uuid.uuid4().hex, START_US, [FULL, FULL]
    with Redis.from_url(valkey_url) as redis:
        for step_us, which, n, urgent, rank, patience_ns, gives_up in steps:
            now_us += step_us
            redis.delete(CLOCK)
            redis.rpush(CLOCK, now_us // 1_000_000, now_us % 1_000_000)
            keys = [f"{prefix}:{i}" for i in which]
            numbers = [number for i in which for number in (BUCKETS[i].token_ns, BUCKETS[i].burst)]
            head = ["take", n, int(urgent), rank, patience_ns, 2_000_000]
            said = redis.eval(SCRIPT_UNDER_TEST, len(keys), *keys, *head, *numbers)
            want = Want(n, rank, urgent, patience_ns)
            answer = take([BUCKETS[i] for i in which], [levels[i] for i in which], want, now_us * 1000, 2 * 10**9)
            assert said == _as_script(answer, now_us)
            new: list[Level] = list(answer.levels) if isinstance(answer, Taken | Short) else []
            if gives_up and isinstance(answer, Short):
                redis.eval(SCRIPT_UNDER_TEST, len(keys), *keys, "forget", rank)
                new = [without_front(level, rank) for level in new]
            for i, level in zip(which, new, strict=True):
                levels[i] = level


def _as_script(answer: Taken | Short | OverBurst, now_us: int) -> list[int]:
    if isinstance(answer, Short):
        return [0, answer.wait_ns, *(int(short) for short in answer.short)]
    assert isinstance(answer, Taken)
    return [1, now_us]


def test_a_clock_set_back_neither_gives_tokens_nor_freezes_a_bucket(valkey_url: str) -> None:
    """A little behind (a replica took over), time stands until it is caught up; stepped back, it goes on from there."""
    key, burst = uuid.uuid4().hex, BUCKETS[0].burst

    def ask(redis: Redis, now_us: int, n: int) -> int:
        redis.delete(CLOCK)
        redis.rpush(CLOCK, now_us // 1_000_000, now_us % 1_000_000)
        words: list[int | str] = ["take", n, 0, 1, 0, 2_000_000, BUCKETS[0].token_ns, burst]
        taken, wait_ns, *_ = redis.eval(SCRIPT_UNDER_TEST, 1, key, *words)
        return 0 if taken else wait_ns

    with Redis.from_url(valkey_url) as redis:
        assert ask(redis, START_US, burst) == 0
        assert ask(redis, START_US - 500_000, 1) == BUCKETS[0].token_ns
        assert ask(redis, START_US + 10_000, 1) == BUCKETS[0].token_ns - 10_000_000
        assert ask(redis, START_US - 3_600_000_000, 1) == BUCKETS[0].token_ns
        assert ask(redis, START_US - 3_600_000_000 + 200_000, 1) == 0
