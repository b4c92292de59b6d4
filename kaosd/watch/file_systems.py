"""Which directory a root is at the moment, and what it lies on."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

# Types of file systems, as in /proc/self/mountinfo, whose content others can change without the kernel here
# knowing: the far side of a network or of a virtual machine. fuse is decided below.
_REMOTE = frozenset({
    "9p", "acfs", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs", "gfs2",
    "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs",
    "prl_fs", "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs",
})  # fmt: skip

# Types whose files the kernel makes up when they are read.
_MADE_UP = frozenset({
    "autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs",
    "fusectl", "mqueue", "nsfs", "proc", "pstore", "securityfs", "selinuxfs", "sysfs", "tracefs",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class PathIdentity:
    """The directory that a path leads to. place: with all links resolved."""

    place: bytes
    device: int
    inode: int


def identify(path: bytes) -> PathIdentity | None:
    """The directory that *path* leads to now; None when there is none, or none that we may reach."""
    try:
        place = os.path.realpath(path)
        found = os.stat(place)
    except OSError:
        return None
    return PathIdentity(place, found.st_dev, found.st_ino) if stat.S_ISDIR(found.st_mode) else None


def same(path: bytes, identity: PathIdentity | None) -> bool:
    """Whether *path* still leads to *identity*; one system call."""
    try:
        found = os.stat(path)
    except OSError:
        return identity is None
    if identity is None:
        return not stat.S_ISDIR(found.st_mode)
    return (found.st_dev, found.st_ino) == (identity.device, identity.inode)


def file_system(place: bytes) -> str:
    """Type of the file system that *place* lies on, for example "ext4"; "" when it cannot be found out."""
    try:
        opened = os.open(place, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        with open(f"/proc/self/fdinfo/{opened}", encoding="ascii") as info:
            mount = next((line.split()[1] for line in info if line.startswith("mnt_id:")), "")
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
            return mount_type(mount, mounts.read())
    except OSError:
        return ""
    finally:
        os.close(opened)


def mount_type(mount: str, mountinfo: str) -> str:
    """Type of the mount with the number *mount* out of the text of /proc/self/mountinfo; "" when not there."""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        if before.split(" ", 1)[0] == mount:
            return after.split(" ", 1)[0]
    return ""


def is_made_up(kind: str) -> bool:
    """Whether a file system of this type holds no files that somebody has stored."""
    return kind in _MADE_UP


def is_remote(kind: str) -> bool:
    """Whether a file system of this type can change behind the kernel's back, so that it must be polled.

    fuseblk is a local disk (NTFS, exFAT); everything else on FUSE may have a far side.
    """
    return kind in _REMOTE or kind == "fuse" or kind.startswith("fuse.")
