"""The JSON Schema of each policy document, for editors: `toolgate policy schema` (JSON Schema 2020-12).

Made from the very models that read the files, so what an editor completes is what a gateway accepts. A file names its
schema in a comment that yaml-language-server reads; nothing here is read by a gateway, and no digest covers it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from gateway.execute.profile import profile_schema
from gateway.policy import documents
from gateway.policy_tools.tables import Table

FOLDER: Final = "schemas"  # beneath the policy folder
MODELS: Final[dict[str, type[documents.Document]]] = {
    "contract": documents.Contract,
    "settings": documents.Settings,
    "approvers": documents.Approvers,
    "table": Table,
}


PROFILE: Final = "profile"  # of a sandbox: its form is the sandbox's own
NAMES: Final = (*MODELS, PROFILE)


def schema_text(name: str) -> str:
    """The schema file of one kind of document."""
    schema = profile_schema() if name == PROFILE else MODELS[name].model_json_schema(by_alias=True)
    return json.dumps(schema, indent=2) + "\n"


def write_schemas(folder: Path) -> list[Path]:
    """Write every schema into `folder`, made if it is absent."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in NAMES:
        path = folder / f"{name}.schema.json"
        path.write_text(schema_text(name), encoding="utf-8")
        written.append(path)
    return written


def modeline(name: str, *, deep: bool) -> str:
    """The comment by which a file names its schema; `deep`: it stands in tools/, sandbox/ or tests/."""
    return f"# yaml-language-server: $schema={'../' if deep else ''}{FOLDER}/{name}.schema.json"
