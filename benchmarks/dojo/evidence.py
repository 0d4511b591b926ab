"""What the log says afterwards, read from its files once the gateway is closed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.dojo.checks import Check, tally
from gateway.audit.read import read_origin
from gateway.audit.segment import Place, list_origins
from gateway.domain.call import Denied, Outcome, Released
from gateway.settings import Home


def recorded(outcomes: Sequence[Outcome], secrets: Sequence[str], home: Home) -> Iterator[Check]:
    """Every call stands in the log: intent then outcome if it ran, one denial if it did not, and no secret anywhere."""
    kinds: dict[str, list[str]] = {}
    lines: list[bytes] = []
    for origin in list_origins(home.audit, home.checkpoints):
        for stored in read_origin(home.audit, origin):
            lines.append(stored.line)
            call = (stored.record or {}).get("call")
            if stored.record is not None and isinstance(call, dict):
                kinds.setdefault(str(call["call_id"]), []).append(str(stored.record["kind"]))
    wanted = {Released: ["call.intent", "call.outcome"], Denied: ["call.denied"]}
    yield tally(
        "calls recorded, the refused ones too",
        {f"{one.ctx.id} {one.tool}": kinds.get(one.ctx.id) == wanted.get(type(one)) for one in outcomes},
    )
    yield Check("calls in the log, and no others", len(kinds), len({one.ctx.id for one in outcomes}))
    written = [secret.encode() for secret in secrets]
    free = {f"line {number}": not any(one in line for one in written) for number, line in enumerate(lines)}
    yield tally(f"log lines free of the {len(set(secrets))} secret values used", free)


def verified(policies: Path, home: Home, scratch: Path) -> Iterator[Check]:
    """`toolgate audit verify`: the log is whole up to its last record, and a copy with one bit changed is not."""
    code, origins = _verify(policies, home.audit.parent)
    whole = {one["origin"]: code == 0 and one["ok"] and one["covered"] == one["records"] for one in origins}
    yield tally("logs that `toolgate audit verify` finds whole, signed to the last record", whole)
    found: dict[str, bool] = {}
    for origin in whole:
        copy = scratch / origin
        shutil.copytree(home.audit.parent, copy)
        segment = Place(origin, copy / home.audit.name, copy).segments()[0]
        data = bytearray(segment.read_bytes())
        data[len(data) // 2] ^= 1
        segment.write_bytes(data)
        code, origins = _verify(policies, copy)
        found[origin] = code == 1 and any(one["origin"] == origin and one["damage"] for one in origins)
    yield tally("copies with one bit changed that it finds damaged", found)


def _verify(policies: Path, home: Path) -> tuple[int, list[dict[str, Any]]]:
    command = [sys.executable, "-m", "gateway.cli", "audit", "verify", "--json"]
    ran = subprocess.run(
        [*command, "--policies", str(policies), "--home", str(home)], capture_output=True, text=True, check=False
    )
    if ran.returncode not in (0, 1):
        raise SystemExit(f"toolgate audit verify: {ran.stderr}")
    return ran.returncode, json.loads(ran.stdout)["origins"]
