#!/bin/sh
# install.sh PYTHON [cpu|cuda]: install the locked packages, all but the project's own, into the environment of PYTHON.
#
# Every downloaded file must have one of the SHA-256 sums in this folder. Nothing is resolved here (--no-deps): the lock files are
# complete, which `pip check` confirms. Source is built by the locked setuptools, because pip fetches a build's own requirements
# without checking hashes.
#
# torch's build for the CPU alone is not in the registry. With `cpu` it is taken where pip is configured to find it, and needs no
# CUDA libraries. pip reports that it finds none in one of two ways, the second where its configuration has a constraint on
# torch. Then, and with `cuda`, the registry's torch is installed, and the CUDA libraries if it needs them.
set -e
python=$1
build=${2:-cpu}
here=$(dirname "$0")
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
case $version in 3.11|3.12) pins=$here/python-3.11 ;; *) pins=$here/python-3.13 ;; esac
install="$python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes"

$install -r "$here/build.txt"
if [ "$build" = cpu ]; then
    said=$($install -r "$here/torch-cpu.txt" 2>&1) || case $said in
        *"No matching distribution"*|*ResolutionImpossible*) ;;
        *) echo "$said" >&2; exit 1 ;;
    esac
fi
$install --no-build-isolation -r "$pins.txt"
if "$python" -m pip show --disable-pip-version-check torch | grep -q '^Requires:.*nvidia-'; then
    $install -r "$pins-cuda.txt"
fi
