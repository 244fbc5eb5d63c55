"""Where the command `mario` enters: says what to install where only the game is."""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command; where a package of the pipeline is missing, name it in one line instead of a traceback."""
    try:
        from flows.command_line import main as command

        command()
    except ModuleNotFoundError as error:
        from configs import LOGGERS

        package = (error.name or "").partition(".")[0]
        if package in (*LOGGERS, ""):
            raise
        sys.exit(
            f"error: mario needs {package}, which is not installed: pip install 'train-mario[pipeline]' installs all it needs"
        )


if __name__ == "__main__":
    main()
