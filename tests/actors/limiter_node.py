"""A process with a rate limiter of its own on a shared Redis: a node, for the test that measures two of them together.

Arguments: the URL, the prefix, the node's name, rate, burst. Says "ready", reads the monotonic time to stop at from its
input, and prints what it took as JSON.
"""

import asyncio
import json
import sys

from dispatcher.domain.buckets import Bucket
from tests.actors.limiting import RecordedLimits, Recorder, many, running


async def main(url: str, prefix: str, node: str, rate_per_s: str, burst: str) -> None:
    """Take one at a time and five at a time, with four askers, until the time."""
    recorder = Recorder()
    shared = RecordedLimits(recorder, url, node, prefix)
    async with running(recorder, fixed={"shared": Bucket(float(rate_per_s), int(burst))}, shared=shared) as limiter:
        print("ready", flush=True)
        until_s = float(await asyncio.to_thread(sys.stdin.readline))
        await asyncio.gather(
            many(limiter, "shared", until_s=until_s, askers=3),
            many(limiter, "shared", until_s=until_s, askers=1, n=5),
        )
    print(json.dumps(recorder.took.get("shared", [])))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
