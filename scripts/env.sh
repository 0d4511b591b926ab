#!/bin/sh
# Makes .venv from requirements/dev.txt (every package pinned by hash, no index named), then adds this checkout to it.
# Done again only when the pins, pyproject.toml or the interpreter change. PYTHON names the interpreter to start from.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
pins=requirements/dev.txt
stamp=.venv/.made-from

bold='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$(printf '\033[1m') plain=$(printf '\033[0m'); fi
say() { printf '%senv:%s %s\n' "$bold" "$plain" "$*"; }
stop() { printf 'env: %s\n' "$*" >&2; exit 2; }

new_enough='import sys; sys.exit(sys.version_info < (3, 11))'
fits() { .venv/bin/python -c "$new_enough" && grep -qF "$root/.venv" .venv/bin/activate; } 2>/dev/null # not moved here
fingerprint() { { cat "$pins" pyproject.toml; .venv/bin/python -VV; } 2>/dev/null | sha256sum | cut -d' ' -f1; }
fits && [ "$(cat "$stamp" 2>/dev/null)" = "$(fingerprint)" ] && exit 0

if ! fits; then
    base=''
    for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3.14 python3}; do
        if "$candidate" -c "$new_enough" 2>/dev/null; then base=$candidate; break; fi
    done
    [ -n "$base" ] || stop "Python 3.11 or newer is needed and ${PYTHON:-none} was found." \
        "On Debian 12 or Ubuntu 24.04 and later: apt-get install python3 python3-venv. Or name one: make env PYTHON=..."
    version=$("$base" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    "$base" -c 'import ensurepip, venv' 2>/dev/null || stop "$base cannot make virtual environments." \
        "On Debian and Ubuntu: apt-get install python$version-venv"
    say "making .venv with Python $version"
    rm -rf .venv
    "$base" -m venv .venv
fi

say "installing $(grep -c '==' "$pins") packages pinned by hash (a minute or so)"
# The pins are everything: a dependency on `name[extra]` would make pip look for newer releases of `name`, and fail.
.venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes --requirement "$pins"
.venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --no-index --editable .
missing=$(.venv/bin/python -m pip check --disable-pip-version-check) || stop "$pins lacks something, run make lock: $missing"
fingerprint > "$stamp"
say "ready"
