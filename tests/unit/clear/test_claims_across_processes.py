"""Eight processes claim the same few requests and effect keys: each is claimed once (C055 beyond threads)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.unit.clear.world import World

PROCESSES = 8
ROWS = 5

RACER = """
import json, sys
from pathlib import Path
from gateway.domain.call import ClearedCall
from tests.unit.clear.world import World
folder, origin, ids = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
world = World(folder, origin=origin, busy_s=30)
print("ready", flush=True)
sys.stdin.readline()
won = []
for n, request_id in enumerate(ids):
    if isinstance(world.redeem(request_id, effect_key=f"k{n}"), ClearedCall):
        won.append(request_id)
    if isinstance(world.clear_call(world.call(obligations=(), effect_key=f"free{n}")), ClearedCall):
        won.append(f"free{n}")
print(json.dumps(won))
"""


def test_c055_each_row_is_claimed_by_one_process(tmp_path: Path) -> None:
    world = World(tmp_path)
    ids = [world.park(world.call(effect_key=f"k{n}")) for n in range(ROWS)]
    for request_id in ids:
        world.vote(request_id)
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(tmp_path), f"worker-{n}", *ids],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(PROCESSES)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    won = [name for racer in racers for name in json.loads(racer.communicate(timeout=60)[0])]
    assert sorted(won) == sorted([*ids, *(f"free{n}" for n in range(ROWS))])
