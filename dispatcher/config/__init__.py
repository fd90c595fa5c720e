"""Settings, logs and the clock: the ground floor. Only this package reads the environment, and only `clock` the time."""

from dispatcher.config.checking import check, require_for_run
from dispatcher.config.errors import ConfigError
from dispatcher.config.loading import Loaded, load
from dispatcher.config.secret import Secret
from dispatcher.config.settings import Settings
from dispatcher.config.showing import describe

__all__ = ["ConfigError", "Loaded", "Secret", "Settings", "check", "describe", "load", "require_for_run"]
