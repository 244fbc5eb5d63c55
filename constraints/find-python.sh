#!/bin/sh
# Print the Python to build with: $PYTHON if it is set, else the newest of 3.14 to 3.11 on the PATH.
# A candidate is run before it is chosen: a version manager's shim may be on the PATH and fail when run, and Debian's python3
# may lack venv.
usable() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' >/dev/null 2>&1
}

if [ -n "$PYTHON" ]; then
    if usable "$PYTHON"; then
        printf '%s\n' "$PYTHON"
        exit 0
    fi
    echo "PYTHON=$PYTHON cannot be used: it does not run, is not Python 3.11 to 3.14, or lacks venv." >&2
    exit 1
fi

for candidate in python3.14 python3.13 python3.12 python3.11 python3; do
    if usable "$candidate"; then
        printf '%s\n' "$candidate"
        exit 0
    fi
done

cat >&2 <<'MESSAGE'
No usable Python found. train-mario needs Python 3.11 to 3.14 with its venv module, for example:
  Debian, Ubuntu   apt-get install python3 python3-venv   (3.11 and 3.12 also: g++ python3-dev)
  Fedora           dnf install python3.13
  macOS            brew install python@3.13
Then run make again, or name it: make demo PYTHON=/path/to/python3.13
MESSAGE
exit 1
