#!/bin/sh
# Makes the environment described by requirements/NAME.txt and prints its interpreter.
# It lies under .cache/, named after the digest of that file, so it is made once and again only when a pin changes.
# Use: python=$(scripts/own-env.sh agentdojo). PYTHON names the interpreter to start from (3.11 or newer).
set -eu

name=${1:?usage: scripts/own-env.sh NAME, where requirements/NAME.txt exists}
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
pins=$root/requirements/$name.txt
[ -f "$pins" ] || { echo "own-env: there is no requirements/$name.txt" >&2; exit 2; }

new_enough='import sys; sys.exit(sys.version_info < (3, 11))'
base=${PYTHON:-}
if [ -z "$base" ]; then
    for candidate in "$root/.venv/bin/python" python3.11 python3.12 python3.13 python3; do
        if "$candidate" -c "$new_enough" 2>/dev/null; then base=$candidate; break; fi
    done
fi
[ -n "$base" ] && "$base" -c "$new_enough" || {
    echo "own-env: Python 3.11 or newer is needed; install it or name it in PYTHON" >&2
    exit 2
}

version=$("$base" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
digest=$(sha256sum "$pins" | cut -c1-16)
home=$root/.cache/envs/$name-$version-$digest
mkdir -p "$root/.cache/envs"
exec 9> "$root/.cache/envs/$name.lock"
flock 9 # two at once would make it in each other's way
if [ ! -f "$home/complete" ]; then
    rm -rf "$home"
    echo "own-env: making the environment for $name (once)" >&2
    "$base" -m venv "$home" >&2
    # The pins are everything: a dependency on `name[extra]` would make pip look for newer releases of `name`, and fail.
    "$home/bin/python" -m pip install -qq --disable-pip-version-check --only-binary :all: \
        --no-deps --require-hashes -r "$pins" >&2
    missing=$("$home/bin/python" -m pip check --disable-pip-version-check) || {
        echo "own-env: $pins lacks something, run make lock: $missing" >&2
        exit 1
    }
    touch "$home/complete"
fi
echo "$home/bin/python"
