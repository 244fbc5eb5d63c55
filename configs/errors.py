"""The error for a configuration that is refused."""


class ConfigError(ValueError):
    """A preset, a key or a value is refused. The message names the place, the fault and the valid choices.

    The message can always be printed, logged and stored: NUL and unpaired UTF-16 surrogates are written as escapes.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8"))
