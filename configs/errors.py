"""What is raised when a configuration is refused."""


class ConfigError(ValueError):
    """A preset, a key or a value is refused; the message names the place, the fault and what is valid."""
