"""Compare what was asked of the daemon with what it says it made.

Guarantee: a field of the request that is absent or different in `inspect` is a difference, and so is a
path that every container of ours must have masked. An empty list, an empty mapping, an empty text and null
mean the same to the Docker Engine API, so they compare equal.
"""

from __future__ import annotations

from collections.abc import Mapping

from sandbox.spec import SandboxSpec

# moby's defaults (oci/defaults.go) that a kernel may lack are not listed; these exist everywhere.
MASKED = frozenset(
    {"/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/sys/firmware"}
)
READ_ONLY = frozenset({"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"})
_ADDED_BY_THE_DAEMON = ("PATH=",)


def _plain(value: object) -> object:
    return None if value in (None, "", [], {}) else value


def differences(spec: SandboxSpec, found: Mapping[str, object]) -> dict[str, tuple[object, object]]:
    """`{field: (asked, got)}`, empty where the container is as requested."""
    unlike: dict[str, tuple[object, object]] = {}
    host = _mapping(found.get("HostConfig"))
    for key, asked in spec.host_config().items():
        got = host.get(key)
        if _plain(asked) != _plain(got) and not (key == "Ulimits" and _by_name(asked) == _by_name(got)):
            unlike[f"HostConfig.{key}"] = _shortened(key, asked, got)
    for key, needed in (("MaskedPaths", MASKED), ("ReadonlyPaths", READ_ONLY)):
        got = host.get(key)
        present = set(got) if isinstance(got, list) else set()
        if not needed <= present:
            unlike[f"HostConfig.{key}"] = (sorted(needed), sorted(present))
    config = _mapping(found.get("Config"))
    for key, asked in spec.container_config().items():
        if key in {"HostConfig", "Env"}:
            continue
        if _plain(asked) != _plain(config.get(key)):
            unlike[f"Config.{key}"] = (asked, config.get(key))
    environment = config.get("Env") or []
    if not isinstance(environment, list) or not all(str(e).startswith(_ADDED_BY_THE_DAEMON) for e in environment):
        unlike["Config.Env"] = ([], environment)
    if _plain(config.get("Volumes")) is not None or _plain(found.get("Mounts")) is not None:
        unlike["Mounts"] = ([], found.get("Mounts") or config.get("Volumes"))
    if found.get("AppArmorProfile") == "unconfined":  # empty where the host has no AppArmor
        unlike["AppArmorProfile"] = ("docker-default", "unconfined")
    if found.get("Image") != spec.image_id:
        unlike["Image"] = (spec.image_id, found.get("Image"))
    return unlike


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _by_name(ulimits: object) -> object:
    if not isinstance(ulimits, list):
        return ulimits
    return sorted((u.get("Name"), u.get("Soft"), u.get("Hard")) for u in ulimits if isinstance(u, Mapping))


def _shortened(key: str, asked: object, got: object) -> tuple[object, object]:
    """The seccomp text is thousands of characters: name the difference, not the text."""
    if key != "SecurityOpt":
        return asked, got
    return tuple([str(option)[:60] for option in side] if isinstance(side, list) else side for side in (asked, got))  # type: ignore[return-value]
