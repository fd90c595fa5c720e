"""Settings, logs and the clock: the ground floor. Only this package reads the environment, and only `clock` the time."""

from dispatcher.config.loading import ConfigError, Loaded, check, describe, load, require_for_run
from dispatcher.config.secret import Secret
from dispatcher.config.settings import Settings

__all__ = ["ConfigError", "Loaded", "Secret", "Settings", "check", "describe", "load", "require_for_run"]
