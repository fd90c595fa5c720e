"""Everything at once on one machine: `dispatcher demo` (send, compare, leave nothing) and `run --with-simulator` (stay).

`people` makes the contacts, `children` runs the processes, `stage` sets them up together, `api` is a store's client of
the HTTP API, `story` is the demo told in order, `comparison` compares what the sources say, `development` stays running.
"""

from dispatcher.cli.demo.development import run_with_simulator
from dispatcher.cli.demo.story import Demo, run_demo

__all__ = ["Demo", "run_demo", "run_with_simulator"]
