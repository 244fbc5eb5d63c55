#!/bin/sh
# find-python.sh [VERSION...]: print the Python to build with.
# That is $PYTHON if it is set, else the first of the versions (default: 3.14 to 3.11, then whatever python3 is) that is on the
# PATH, else the first that pyenv has installed. A candidate is run before it is chosen: a version manager's shim may be on the
# PATH and fail when run, and Debian's python3 may lack venv.
usable() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' >/dev/null 2>&1
}

choose() {
    if usable "$1"; then
        printf '%s\n' "$1"
        exit 0
    fi
}

if [ -n "$PYTHON" ]; then
    choose "$PYTHON"
    echo "PYTHON=$PYTHON cannot be used: it does not run, is not Python 3.11 to 3.14, or lacks venv." >&2
    exit 1
fi

versions=${*:-3.14 3.13 3.12 3.11}
for version in $versions; do
    choose "python$version"
done
[ $# -gt 0 ] || choose python3

# Installed, but not switched on in this folder.
installed=$(pyenv root 2>/dev/null)/versions
for version in $versions; do
    for folder in "$installed/$version".*; do
        choose "$folder/bin/python$version"
    done
done

if [ $# -gt 0 ]; then
    echo "No usable Python found among $versions (on the PATH, or installed by pyenv)." >&2
    exit 1
fi
cat >&2 <<'MESSAGE'
No usable Python found. train-mario needs Python 3.11 to 3.14 with its venv module, for example:
  Debian, Ubuntu   apt-get install python3 python3-venv   (3.11 and 3.12 also: g++ python3-dev)
  Fedora           dnf install python3.13
  macOS            brew install python@3.13
Then run make again, or name it: make demo PYTHON=/path/to/python3.13
MESSAGE
exit 1
