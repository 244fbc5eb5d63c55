"""What is raised when a configuration is refused."""


class ConfigError(ValueError):
    """A preset, a key or a value is refused; the message names the place, the fault and what is valid.

    It can always be printed, logged and stored: characters that cannot (NUL, half of a UTF-16 pair) are written as escapes.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8"))
