#!/bin/sh
# install-chromium.sh [PROGRAM]: install Debian's Chromium, unless PROGRAM (default: chromium) is there already and runs.
# Only the installation needs the network, and root or sudo.
wanted=${1:-chromium}
if "$wanted" --version >/dev/null 2>&1; then
    exit 0
fi
if [ "$wanted" != chromium ] || ! command -v apt-get >/dev/null; then
    echo "$wanted does not run. Install Chromium, or name a program of yours: make e2e CHROMIUM=/path/to/chrome" >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    root=
elif command -v sudo >/dev/null; then
    root=sudo
else
    echo "Chromium is missing, and only root can install it: apt-get install chromium" >&2
    exit 1
fi
echo "Installing Chromium ..."
$root apt-get update -qq &&
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends chromium chromium-sandbox &&
    "$wanted" --version && exit 0
echo "Chromium could not be installed. Once this works, run make e2e again: ${root:+sudo }apt-get install chromium" >&2
exit 1
