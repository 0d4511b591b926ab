"""The figures: warm, cold, stateful, sustained, idle. Contestants that are compared take turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import yaml

from benchmarks.sandbox.contestants import DockerRun, Rival
from benchmarks.sandbox.steps import measure_steps
from benchmarks.speed.table import Row
from sandbox import DockerEngine, Pool, SandboxProfile, SandboxResult, SandboxSpec, Sessions
from sandbox.image import build, lock

ROOT = Path(__file__).resolve().parents[2]
CODE = b"print(sum(range(1000)))"
PANDAS = b"import pandas\nprint(int(pandas.Series(range(1000)).sum()))"
SAID = "499500\n"
WARM = 8  # containers of the pool under test
FULL_S = 120.0
RATE_RUNS = 40
HANDS = (2, 3, 4)  # of the parallel runs; the best counts, for each contestant


def measure(rounds: int, *, rivals: bool) -> tuple[str, dict[str, list[Row]]]:
    """Docker's version, and the sections of the table."""
    import docker

    engine = DockerEngine(owner="toolgate-benchmark")
    python, data = (_spec(engine, name) for name in ("python", "python-data"))
    with ExitStack() as stack:
        api = stack.enter_context(closing(docker.APIClient(engine.host)))
        plain = stack.enter_context(DockerRun(engine.host, python))
        other = stack.enter_context(Rival(python.image_id)) if rivals else None
        cold = _turn_about(
            rounds,
            {
                "ours": lambda: _right(engine.run(python, CODE)),
                "docker run": lambda: plain.run(CODE),
                **({"llm-sandbox": other.cold} if other else {}),
            },
        )
        warm, idle = _warm(engine, python, api, CODE, rounds)
        loaded, heavy = _warm(engine, data, api, PANDAS, max(2, rounds // 4))
        stateful = _stateful(engine, python, 10 * rounds)
        again = [other.again() for _ in range(rounds)] if other else []
        rates = _rates(engine, python, plain)
    by_docker = statistics.median(cold["docker run"])
    ours_cold, ours_warm = statistics.median(cold["ours"]), statistics.median(warm)
    sections = {
        "One run in a container that waited (warm)": [
            Row("p50", ours_warm, "ms", 4),
            Row("p99", _p99(warm), "ms", 20),
            Row("of docker run", ours_warm / by_docker, "x", 0.02),
            Row("python-data, pandas loaded, p50", statistics.median(loaded), "ms", 10),
        ],
        "One run in a session (stateful)": [
            Row("p50", statistics.median(stateful), "ms", 3),
            Row("p99", _p99(stateful), "ms"),
        ],
        "One run in a container made for it (cold)": [
            Row("ours", ours_cold, "ms"),
            Row("of docker run", ours_cold / by_docker, "x", 0.75),
        ],
        "Single-use runs, sustained": [
            Row("ours", rates["ours"], "runs/s"),
            Row("docker run, parallel", rates["docker run"], "runs/s"),
            Row("docker run's of ours", rates["docker run"] / rates["ours"], "x", round(1 / 1.5, 2)),
        ],
        "One container that waits": [
            Row("python", idle, "MiB", 10),
            Row("python-data, pandas loaded", heavy, "MiB"),
        ],
        "Beside it, in the same run": [Row("docker run, same hardening", by_docker, "ms")],
    }
    if other is not None:
        sections["Beside it, in the same run"] += [
            Row("llm-sandbox: open, run, close", statistics.median(cold["llm-sandbox"]), "ms"),
            Row("llm-sandbox: run in an open session", statistics.median(again), "ms"),
        ]
    return str(api.version()["Version"]), sections


def steps(rounds: int) -> tuple[str, dict[str, list[Row]]]:
    """Docker's version, and where the time of one container goes."""
    import docker

    engine = DockerEngine(owner="toolgate-benchmark")
    with closing(docker.APIClient(engine.host)) as api:
        return str(api.version()["Version"]), measure_steps(engine, _spec(engine, "python"), rounds)


def _spec(engine: DockerEngine, name: str) -> SandboxSpec:
    document = yaml.safe_load((ROOT / f"policies/sandbox/{name}.yaml").read_text())
    profile = SandboxProfile.from_mapping(document)
    cache = lock.default_cache()
    return profile.pinned_to(build.ensure(engine, cache, cache / lock.LOCK_NAME, profile.image))


def _right(result: SandboxResult) -> None:
    if result.stdout != SAID:
        raise AssertionError(f"not the work asked for: {result}")


def _took(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def _turn_about(rounds: int, contestants: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    for work in contestants.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, work in contestants.items():
            times[name].append(_took(work))
    return times


def _warm(engine: DockerEngine, spec: SandboxSpec, api: object, code: bytes, fills: int) -> tuple[list[float], float]:
    """Times while the pool holds, over that many fillings of it, and the memory of a waiting container in MiB."""
    times: list[float] = []
    with Pool(engine, spec, WARM) as pool:
        _settled(pool, api, engine.owner)
        idle = statistics.median(_memory(api, engine.owner))
        for _ in range(fills):
            _settled(pool, api, engine.owner)
            times += [_took(lambda: _right(pool.run(code))) for _ in range(WARM - 1)]
    return times, idle


def _settled(pool: Pool, api: object, owner: str) -> None:
    """Full, and what was used is gone: nothing of ours works in the background."""
    end = time.monotonic() + FULL_S
    while not pool.wait_until_full(FULL_S) or len(_ours(api, owner)) > pool.size:
        if time.monotonic() > end:
            raise AssertionError("the pool did not settle; see the warnings above")
        time.sleep(0.05)


def _ours(api: object, owner: str) -> list[dict[str, str]]:
    return api.containers(all=True, filters={"label": f"toolgate.owner={owner}"})  # type: ignore[attr-defined]


def _memory(api: object, owner: str) -> list[float]:
    waiting = [each["Id"] for each in _ours(api, owner)]
    used = [api.stats(each, stream=False)["memory_stats"]["usage"] for each in waiting]  # type: ignore[attr-defined]
    return [bytes_used / (1 << 20) for bytes_used in used]


def _stateful(engine: DockerEngine, spec: SandboxSpec, rounds: int) -> list[float]:
    with Sessions(engine, spec) as sessions:
        _right(sessions.run("bench", CODE))
        return [_took(lambda: _right(sessions.run("bench", CODE))) for _ in range(rounds)]


def _rates(engine: DockerEngine, spec: SandboxSpec, plain: DockerRun) -> dict[str, float]:
    """The best rate over several degrees of parallelism, runs a second."""
    best = {"ours": 0.0, "docker run": 0.0}
    for hands in HANDS:
        best["docker run"] = max(best["docker run"], _rate(hands, lambda: plain.run(CODE)))
        with Pool(engine, spec, hands) as pool:
            best["ours"] = max(best["ours"], _rate(hands, lambda pool=pool: _right(pool.run(CODE))))  # type: ignore[misc]
    return best


def _rate(hands: int, work: Callable[[], object]) -> float:
    began = time.perf_counter()
    with ThreadPoolExecutor(hands) as callers:
        done: Sequence[object] = list(callers.map(lambda _: work(), range(RATE_RUNS)))
    return len(done) / (time.perf_counter() - began)


def _p99(times: Sequence[float]) -> float:
    return statistics.quantiles(times, n=100)[98]
