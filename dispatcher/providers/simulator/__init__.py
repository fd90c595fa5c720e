"""A provider that is not one: speaks Mitto's API in its own process, takes what it is sent, and misbehaves on demand.

What it is for: demos, tests of every fault a provider has, and the load of benchmarks (so it is light). What it is not: a
part of the daemon; nothing of the daemon imports it. docs/simulator.md has the profile and the `/_sim` addresses.

`profile` what it was told to do; `store` what it took; `reports` which reports come when; `poster` sends them;
`faults` what happens to a request; `server` the addresses; `__main__` the process.
"""
