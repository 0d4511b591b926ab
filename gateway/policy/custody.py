"""Only those who may write policy could have written these files (C035). The sandbox lock is held to the same.

Whoever can write a policy file, replace it, or rename a folder above it, decides what agents may do. So every folder on
the way to a file, symbolic links included, and the file itself must be owned by root, by this process's user or by the
owner of the policy folder, and be writable by nobody else: not by others, and not by a group with any other member. A
sticky folder such as /tmp may stand above (not inside) the policy folder: nobody can replace what root or we own in it.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from pathlib import Path
from typing import Final, NoReturn, final

from gateway.domain.errors import PolicyError

MAX_LINKS: Final = 40  # what Linux follows, path_resolution(7)
_ACL = "system.posix_acl_access"


@final
class Custody:
    """Walks to files beneath one policy folder and refuses those that somebody else could change."""

    def __init__(self, folder: Path) -> None:
        """Raises PolicyError."""
        try:
            self._trusted = {0, os.geteuid(), folder.stat().st_uid}
        except OSError as error:
            raise _unreadable(str(folder), error) from error
        self._private: dict[tuple[int, int], bool] = {}
        self.folder = self._walk(folder.absolute(), above=True)
        if not stat.S_ISDIR(os.lstat(self.folder).st_mode):
            raise PolicyError("this is not a folder. Give the folder that holds model.conf", file=str(folder))

    def reach(self, name: str) -> Path:
        """The real path of `name`, which lies beneath the folder. Raises PolicyError."""
        real = self._walk(Path(name), above=False) if name else self.folder
        if not real.is_relative_to(self.folder):
            raise PolicyError(f"a symbolic link leads out of the folder, to {str(real)!a}", file=name)
        return real

    def read(self, name: str, max_bytes: int) -> tuple[bytes, os.stat_result]:
        """The bytes of `name`, read once, and what the file was at that moment. Raises PolicyError."""
        real = self.reach(name)
        try:
            descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(descriptor, "rb") as file:
                info = os.fstat(descriptor)
                if not stat.S_ISREG(info.st_mode):
                    raise PolicyError("this is not a regular file", file=name)
                self._check(real, info)
                content = file.read(max_bytes + 1)
        except OSError as error:
            raise _unreadable(name, error) from error
        return content, info

    def _walk(self, path: Path, *, above: bool) -> Path:
        """Resolve `path` one part at a time, checking every folder that is passed. `above`: it ends at the folder.

        Otherwise `path` begins at the folder: what lies above it was checked on the way there.
        """
        here = Path(path.anchor) if above else self.folder
        parts = list(path.parts[1:] if above else path.parts)
        links = 0
        while parts:
            part = parts.pop(0)
            if part == "..":
                here = here.parent
                continue
            try:
                sticky = self._check(here, os.lstat(here), sticky_ok=above or not here.is_relative_to(self.folder))
                info = os.lstat(here / part)
                if sticky and info.st_uid not in (0, os.geteuid()):
                    self._refuse(here / part, f"belongs to {_user(info.st_uid)} in a folder where anybody may write")
                if not stat.S_ISLNK(info.st_mode):
                    here = here / part
                    continue
                target = os.readlink(here / part)
            except OSError as error:
                raise _unreadable(str(here / part), error) from error
            links += 1
            if links > MAX_LINKS:
                self._refuse(path, "leads through too many symbolic links")
            here = Path("/") if target.startswith("/") else here
            parts[:0] = [step for step in target.split("/") if step not in ("", ".")]
        return here

    def _check(self, path: Path, info: os.stat_result, *, sticky_ok: bool = False) -> bool:
        """Refuse what others may change. True if it is a sticky folder in which others may write, where allowed."""
        if info.st_uid not in self._trusted:
            self._refuse(path, f"belongs to {_user(info.st_uid)}. Give it to root or to the owner of its folder")
        others = bool(info.st_mode & stat.S_IWOTH)
        group = bool(info.st_mode & stat.S_IWGRP) and not self._is_private(path, info)
        sticky = bool(info.st_mode & stat.S_ISVTX)
        if (others or group) and not (sticky and sticky_ok):
            who = "anybody" if others else f"the group {_group(info.st_gid)}"
            self._refuse(path, f"can be written by {who}. Run: chmod {'o-w' if others else 'g-w'} {str(path)!a}")
        return others or group

    def _is_private(self, path: Path, info: os.stat_result) -> bool:
        """No member of the group but the owner, and no access list that shows as group rights."""
        if _has_access_list(path):
            return False
        key = (info.st_uid, info.st_gid)
        if key not in self._private:
            self._private[key] = _only_member(*key)
        return self._private[key]

    def _refuse(self, path: Path, why: str) -> NoReturn:
        shown = str(path)
        if hasattr(self, "folder") and path.is_relative_to(self.folder) and path != self.folder:
            shown = str(path.relative_to(self.folder))
        raise PolicyError(f"it {why}", file=shown)


def _has_access_list(path: Path) -> bool:
    """A POSIX access list (acl(5)): its mask is what `st_mode` shows as the group's rights."""
    try:
        return _ACL in os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENOTSUP:  # this file system has none
            return False
        raise


def _only_member(uid: int, gid: int) -> bool:
    try:
        owner = pwd.getpwuid(uid).pw_name
        listed = set(grp.getgrgid(gid).gr_mem)
    except KeyError:
        return False
    primary = {entry.pw_name for entry in pwd.getpwall() if entry.pw_gid == gid}
    return listed | primary <= {owner, "root"}


def _user(uid: int) -> str:
    try:
        return f"the user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"the user with id {uid}"


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"with id {gid}"


def _unreadable(name: str, error: OSError) -> PolicyError:
    return PolicyError(f"it cannot be read: {error.strerror}. Check that it exists and who may read it", file=name)
