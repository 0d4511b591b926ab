#!/bin/sh
# Replays AgentDojo's banking and travel tasks through Toolgate (benchmarks/agentdojo_replay.py) in an environment that
# holds both. Arguments are passed on: --json, --straight.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
python=$("$root/scripts/own-env.sh" agentdojo)
cd "$root"
exec "$python" -m benchmarks.agentdojo_replay "$@"
