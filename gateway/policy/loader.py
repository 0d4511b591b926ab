"""A policy folder -> one frozen PolicySet, or one exception with all that is wrong: all or nothing (I6).

Each file is read once, as bytes (folder.py); the digest, the documents and the access rules all come from those bytes.
The first error of every file is reported, so that a morning's edits are put right in one round.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from gateway.domain.call import ContractRef
from gateway.domain.canonical import NotCanonical, canonical, settle
from gateway.domain.decision import Provenance
from gateway.domain.errors import PolicyError
from gateway.policy.casbin_files import MODEL, POLICY, AccessPolicy, read_model, read_policy
from gateway.policy.check import checked
from gateway.policy.collecting import without_collecting
from gateway.policy.documents import Approvers, Contract, Settings
from gateway.policy.folder import APPROVERS, SANDBOX, SETTINGS, TOOLS, YAML, read_folder
from gateway.policy.lock import check_lock, read_lock
from gateway.policy.policy_set import LoadedContract, PolicyErrors, PolicySet
from gateway.policy.references import dangling, undeliverable
from gateway.policy.yaml import YamlDocument, read_yaml


@without_collecting()
def load(path: str | Path, *, locked: bool = True) -> PolicySet:
    """Read the policy folder at `path`. Raises PolicyErrors, which is a PolicyError; nothing is half loaded.

    Where a policy was applied, only what matches its lock is loaded; `locked=False` is for looking at a candidate.
    """
    files = read_folder(path)
    digests = {name: _sha256(raw) for name, raw in files.items()}
    if locked:
        lock = read_lock(Path(path))
        if lock is not None:
            check_lock(lock, digests)
    errors: list[PolicyError] = []
    contracts: dict[str, LoadedContract] = {}
    profiles: dict[str, MappingProxyType[str, object]] = {}
    settings, approvers = Settings(), Approvers()
    model_text = ""
    access: AccessPolicy | None = None
    written: YamlDocument | None = None

    tools = _stems(files, TOOLS)
    for stem, name in tools.items():
        with _noting(errors):
            contracts[stem] = read_contract(files[name], file=name)
    for stem, name in _stems(files, SANDBOX).items():
        with _noting(errors):
            profiles[stem] = _profile(files[name], name)
    with _noting(errors):
        if SETTINGS in files:
            written = read_yaml(files[SETTINGS], file=SETTINGS)
            settings = checked(written, Settings)
    with _noting(errors):
        approvers = checked(read_yaml(files[APPROVERS], file=APPROVERS), Approvers) if APPROVERS in files else approvers
    with _noting(errors):
        model_text = read_model(files[MODEL])
    with _noting(errors):
        may_be_empty = settings.observe is not None
        access = read_policy(files[POLICY], model_text, frozenset(tools), may_be_empty=may_be_empty)
    if not errors:
        errors += dangling(contracts, frozenset(profiles), settings.budgets)
        errors += undeliverable(settings, contracts)
    if errors or access is None:
        raise PolicyErrors(tuple(errors))

    return PolicySet(
        digest=_sha256(canonical(digests)),
        files=MappingProxyType(digests),
        access=access,
        contracts=MappingProxyType(contracts),
        settings=settings,
        approvers=approvers,
        sandbox_profiles=MappingProxyType(profiles),
        settings_document=written,
    )


def read_contract(raw: bytes, *, file: str) -> LoadedContract:
    """One file of tools/. Raises PolicyError."""
    document = read_yaml(raw, file=file)
    contract = checked(document, Contract)
    if file != f"{TOOLS}{contract.tool}{YAML}":
        message = f"this file describes the tool {contract.tool!r}. Name it {TOOLS}{contract.tool}{YAML}"
        raise document.error(message, ("tool",))
    try:
        digest = contract_digest(contract)
    except NotCanonical as error:
        raise document.error(str(error)) from error
    source = Provenance(file, document.place(("tool",), key=True).line)
    ref = ContractRef(contract.tool, contract.version, digest, contract.risk, contract.effect, source)
    return LoadedContract(contract, ref, document)


def contract_digest(contract: Contract) -> str:
    """Covers what the contract means, defaults and `code_version` included, and not how it is written down.

    Nor what it `replaces`: to retire an older version ends nothing that waits for the newer one. Nor how the model
    `prepare`s it: what people agreed to is the call.
    """
    document, simple = settle(contract.model_dump(mode="json", by_alias=True, exclude={"replaces", "prepare"}))
    return _sha256(canonical(document, simple=simple))


@contextmanager
def _noting(errors: list[PolicyError]) -> Iterator[None]:
    """A file that cannot be used does not keep the next from being looked at."""
    try:
        yield
    except PolicyError as error:
        errors.append(error)


def _profile(raw: bytes, file: str) -> MappingProxyType[str, object]:
    """Plain data; what it may say is known where sandboxes are built."""
    document = read_yaml(raw, file=file)
    if not isinstance(document.data, dict):
        raise document.error("a sandbox profile is a mapping of keys to values")
    return MappingProxyType(document.data)


def _stems(files: dict[str, bytes], folder: str) -> dict[str, str]:
    return {name[len(folder) : -len(YAML)]: name for name in files if name.startswith(folder)}


def read_settings(path: str | Path) -> Settings:
    """What settings.yaml says as it stands, whatever the other files are worth. Raises PolicyError."""
    files = read_folder(path)
    return checked(read_yaml(files[SETTINGS], file=SETTINGS), Settings) if SETTINGS in files else Settings()


def _sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
