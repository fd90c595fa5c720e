"""What is wrong with the settings, as one exception that names the setting, the problem and the remedy."""


class ConfigError(Exception):
    """The settings cannot be used. `setting` is its name in the environment; the text never shows a secret's value."""

    def __init__(self, setting: str, problem: str, remedy: str) -> None:
        super().__init__(f"{setting}: {problem}; {remedy}")
        self.setting = setting
        self.problem = problem
        self.remedy = remedy
