"""The program `python -m tracking.with_parent PARENT PATIENCE MODULE ARGUMENTS`: runs a module that ends with its parent.

:func:`tracking.attended` starts it; nothing imports it.
"""

import runpy
import sys

from tracking.attended import end_with


def main() -> None:
    """Run the module that the command line names as `python -m` would."""
    parent, patience, module = sys.argv[1:4]
    end_with(int(parent), float(patience))
    sys.argv = sys.argv[3:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
