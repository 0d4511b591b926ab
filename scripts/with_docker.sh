#!/bin/sh
# Run a command with a Docker daemon and the sandbox image at hand: scripts/with_docker.sh CMD...
# What is started is stopped, by pid; see scripts/docker_daemon.py for the rules and the settings.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
python=${TOOLGATE_PYTHON:-$here/.venv/bin/python}
[ -x "$python" ] || python=python3
exec "$python" "$here/scripts/docker_daemon.py" "$@"
