"""Spent markers: one small file for every request that can never be granted again (C127).

Guarantee: `mark` succeeds once for a name, for ever, whoever else tries and whatever becomes of the database: an
exclusive create (`open(2)`, O_EXCL) with file and folder synced before it returns. The folder stands beside the log,
so a database brought back from a backup brings no spent grant back with it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final, final

from gateway.domain.errors import SettingsError, StateUnavailable

_ID: Final = re.compile(r"req_[0-9a-f]{32}")


@final
class SpentMarkers:
    """The markers in one folder, which is created with mode 0700."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(f"the folder of spent markers {folder} cannot be made: {error}") from error
        self.folder = folder

    def mark(self, request_id: str, why: str) -> bool:
        """Spend `request_id`. False if it was spent before. Durable on return. Raises StateUnavailable."""
        try:
            descriptor = os.open(self._path(request_id), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return False
        except OSError as error:
            raise self._fault(error) from error
        try:
            try:
                os.write(descriptor, why.encode("utf-8", "replace") + b"\n")  # for people; the name is what counts
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise self._fault(error) from error
        return True

    def spent(self, request_id: str) -> bool:
        """Raises StateUnavailable if the folder cannot be looked at."""
        try:
            os.lstat(self._path(request_id))
        except FileNotFoundError:
            if not self.folder.is_dir():
                raise self._fault(FileNotFoundError("it is gone")) from None
            return False
        except OSError as error:
            raise self._fault(error) from error
        return True

    def _path(self, request_id: str) -> Path:
        if _ID.fullmatch(request_id) is None:
            raise StateUnavailable(f"{request_id!a} is not the id of a request")
        return self.folder / request_id

    def _fault(self, error: OSError) -> StateUnavailable:
        return StateUnavailable(
            f"the spent markers in {self.folder} cannot be kept: {error}. No grant can be redeemed."
        )
