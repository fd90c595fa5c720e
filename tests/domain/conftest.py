"""How property tests run: as many examples as usual, and no time limit for one of them (pytest-timeout bounds the test).

A limit for one example measures how busy the machine is, not the code.
"""

from hypothesis import settings

settings.register_profile("dispatcher", deadline=None)
settings.load_profile("dispatcher")
