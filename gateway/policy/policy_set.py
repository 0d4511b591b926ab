"""One complete, frozen version of the policy, as `loader.load` gives it (I6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

from gateway.domain.call import ContractRef
from gateway.domain.decision import Provenance
from gateway.domain.errors import PolicyError
from gateway.policy.casbin_files import AccessPolicy
from gateway.policy.documents import Approvers, Contract, Settings
from gateway.policy.yaml import YamlDocument


@final
@dataclass(frozen=True, slots=True)
class LoadedContract:
    """A contract, what the pipeline calls it, and where each part of it stands."""

    contract: Contract
    ref: ContractRef
    document: YamlDocument = field(repr=False)

    def provenance(self, *path: str | int, name: str = "") -> Provenance:
        """Where `path` stands in the file, such as `("rules", 0)`; `name` is what records call it."""
        return Provenance(self.document.file, self.document.place(path).line, name)

    def error(self, message: str, *path: str | int) -> PolicyError:
        """A PolicyError that points at `path`, for checks made once the contract is compiled."""
        return self.document.error(message, path)


@final
@dataclass(frozen=True, slots=True)
class PolicySet:
    """Everything the policy folder says. Digests are `sha256:<64 hex digits>`.

    `digest` covers the name and the bytes of every file in `files`; a contract's own digest (`ContractRef.digest`)
    covers what the contract means, so editing a comment changes the first and not the second.
    """

    digest: str
    files: Mapping[str, str]
    access: AccessPolicy
    contracts: Mapping[str, LoadedContract]
    settings: Settings
    approvers: Approvers
    sandbox_profiles: Mapping[str, Mapping[str, object]]
    settings_document: YamlDocument | None = field(default=None, repr=False)

    def refs(self) -> dict[str, ContractRef]:
        """What steps 2 to 8 need to know of each contract."""
        return {tool: loaded.ref for tool, loaded in self.contracts.items()}


class PolicyErrors(PolicyError):
    """What one load found wrong: the first error of each file, in `errors`. Place and text of the first lead."""

    def __init__(self, errors: tuple[PolicyError, ...]) -> None:
        first = errors[0]
        super().__init__(first.message, file=first.file, line=first.line, column=first.column)
        self.errors = errors

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)
