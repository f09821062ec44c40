"""Who the telephone system is on this machine: started as root it binds its ports and is then somebody who may do nothing else.

The account is the owner of the data directory; of a new one, or of one that root has made, the system user `switchroom` where there is one
and otherwise a number that nobody else uses. `enter` hands the data over and acts as that account from then on; `root` is for binding;
`settle` ends it: the supervisor keeps the capabilities of `KEPT`, for it binds again and puts sound first when something is started again, and what it starts
has none, for they do not pass an exec(2). Files that root's own commands make belong to the account too (`as_owner`).

Where root keeps program or data in a folder that nobody else may enter, such as /root, the system has a view of the files of its own (mount
namespace) in which that folder holds nothing but those.

All of them, also where nobody is root, gain nothing by an exec (PR_SET_NO_NEW_PRIVS) and are refused the system calls of `confinement`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import re
import resource
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from appliance.host import confinement

USER = "switchroom"
UNNAMED = 60880  # of no system's or person's account (systemd's list of user and group ids)
# <linux/capability.h>: low ports, one socket for the RTP range, and that sound comes first on the processor
KEPT = {"NET_BIND_SERVICE": 10, "NET_ADMIN": 12, "NET_RAW": 13, "SYS_NICE": 23}
DAC_READ_SEARCH = 2
LAST_CAPABILITY = Path("/proc/sys/kernel/cap_last_cap")
# What may lie in a data directory. Root hands over nothing else, whatever folder it is told.
OURS = re.compile(
    r"\.?(config|calls|found)\.db.*|\.lock|run|keys|log|aside|before|backup.*|restor(e|ing)|support|reserve(\.tmp)?|licence\.json.*|maker\.pem"
)
CLONE_NEWNS = 0x20000  # <linux/sched.h>
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_SLAVE = 2, 4, 1 << 12, 1 << 14, 1 << 19  # <linux/mount.h>
PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_CAPBSET_DROP = 4, 8, 24  # <linux/prctl.h>
CAPABILITY_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Account:
    uid: int
    gid: int


def enter(data: Path) -> str:
    """Make the data directory and act as its account from now on. Returns "", or why this process stays root: part of a sentence."""
    if os.geteuid() != 0:
        confinement.confine()
        return ""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    account = _account(data)
    try:
        if why := _foreign(data):
            return why
        _open_ways(account, data)
        if why := _closed(account, data):
            return why
        _hand_over(data, account)
        for capability in range(int(LAST_CAPABILITY.read_text()) + 1):
            if capability not in KEPT.values():
                _prctl(PR_CAPBSET_DROP, capability)
        _act_as(account)
    except OSError as error:  # in a container whose root may do little
        return f"this system does not let root be somebody else ({error.strerror})"
    os.environ["HOME"] = str(data)
    confinement.confine()
    return ""


@contextlib.contextmanager
def root() -> Iterator[None]:
    """For what only root may do, between `enter` and `settle`."""
    if not _entered():
        yield
        return
    account = os.geteuid()
    os.seteuid(0)
    try:
        yield
    finally:
        os.seteuid(account)


def settle() -> None:
    """From now on this process cannot be root again. Before another thread is started, for capabilities are a thread's own."""
    if not _entered():
        return
    account = Account(os.geteuid(), os.getegid())
    os.seteuid(0)
    with contextlib.suppress(ValueError):  # root itself may not
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))  # io_uring's buffers
    _prctl(PR_SET_KEEPCAPS, 1)
    drop(account)
    kept = _mask(*KEPT.values())
    _set_capabilities(kept, kept)
    _prctl(PR_SET_DUMPABLE, 1)  # it was taken with the change of the account, and /proc/self with it


def drop(account: Account | None = None) -> None:
    """Be the account alone, or the one this process acts as. For a child between fork and exec too."""
    account = account or Account(os.geteuid(), os.getegid())
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)


@contextlib.contextmanager
def as_owner(data: Path) -> Iterator[None]:
    """What root's commands write into a data directory is written as its owner: the system can use it, and a link that somebody has put
    there leads to nothing the owner could not write. They still enter the folders above."""
    try:
        found = data.stat()
    except OSError:
        found = None
    if os.geteuid() != 0 or found is None or found.st_uid == 0:
        yield
        return
    permitted = _permitted()
    with _acting_as(Account(found.st_uid, found.st_gid)):
        _set_capabilities(permitted, permitted & _mask(DAC_READ_SEARCH))
        yield


def _mask(*capabilities: int) -> int:
    return sum(1 << capability for capability in capabilities)


def _entered() -> bool:
    return os.getuid() == 0 and os.geteuid() != 0


def _account(data: Path) -> Account:
    found = data.stat()
    if found.st_uid != 0:
        return Account(found.st_uid, found.st_gid)
    try:
        user = pwd.getpwnam(USER)
    except KeyError:
        return Account(UNNAMED, UNNAMED)
    return Account(user.pw_uid, user.pw_gid)


def _act_as(account: Account) -> None:
    os.setgroups([account.gid])
    os.setegid(account.gid)
    os.seteuid(account.uid)


@contextlib.contextmanager
def _acting_as(account: Account) -> Iterator[None]:
    groups, group = os.getgroups(), os.getegid()
    try:
        _act_as(account)
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def _open_ways(account: Account, data: Path) -> None:
    """Program and data can be reached by the account: a folder above them that shuts it out is covered by one that holds only them."""
    wanted = {path.resolve() for path in (data, Path(sys.base_prefix), Path(sys.prefix), Path(__file__).parents[2])}
    closed: dict[Path, list[Path]] = {}
    with _acting_as(account):
        for path in sorted(wanted):
            above = next((folder for folder in reversed(path.parents) if not _may(folder, os.X_OK)), None)
            if above is not None and not any(other in path.parents for other in closed.get(above, ())):
                closed.setdefault(above, []).append(path)
    if not closed:
        return
    _system(_libc.unshare(CLONE_NEWNS))
    _mount("none", Path("/"), MS_REC | MS_SLAVE)
    before = os.umask(0o022)
    for folder, paths in closed.items():
        handles = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in paths]
        _mount("tmpfs", folder, MS_NOSUID | MS_NODEV, kind="tmpfs", words="mode=0755,size=1m")
        for path, handle in zip(paths, handles, strict=True):
            path.mkdir(parents=True, exist_ok=True)
            _mount(f"/proc/self/fd/{handle}", path, MS_BIND | MS_REC)
            os.close(handle)
    os.umask(before)


def _closed(account: Account, data: Path) -> str:
    """What the account would need and still cannot reach."""
    program = [Path(sys.executable), Path(__file__), Path(msgspec.__file__)]
    with _acting_as(account):
        closed = [*(path for path in program if not _may(path, os.R_OK)), *([] if _may(data.parent, os.X_OK) else [data])]
    return f"{closed[0]} cannot be reached by another account" if closed else ""


def _may(path: Path, what: int) -> bool:
    return os.access(path, what, effective_ids=True)


def _foreign(data: Path) -> str:
    """A folder of root's that holds other things is not given away."""
    if data.stat().st_uid != 0:
        return ""
    foreign = [name for name in sorted(os.listdir(data)) if not OURS.fullmatch(name) and name != "lost+found"]
    return f"the data directory holds other things ({foreign[0]}) and is not given to another account" if foreign else ""


def _hand_over(data: Path, account: Account) -> None:
    """What root has made in a data directory is the account's. No link is followed, and in a folder that is the account's already no file with
    a second name is given away: that one may be somebody else's."""
    fresh = data.stat().st_uid == 0
    for folder, folders, files, at in os.fwalk(data, follow_symlinks=False):
        if folder == str(data):
            folders[:] = [name for name in folders if OURS.fullmatch(name)]
            files = [name for name in files if OURS.fullmatch(name)]
            _give(".", at, account, fresh)
        for name in (*folders, *files):
            _give(name, at, account, fresh)


def _give(name: str, folder: int, account: Account, fresh: bool) -> None:
    handle = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=folder)
    try:
        found = os.fstat(handle)
        plain = stat.S_ISDIR(found.st_mode) or (stat.S_ISREG(found.st_mode) and (fresh or found.st_nlink == 1))
        if found.st_uid == 0 and plain:
            os.chown(f"/proc/self/fd/{handle}", account.uid, account.gid)  # of just this one, whatever has the name by now
    finally:
        os.close(handle)


def _set_capabilities(permitted: int, effective: int) -> None:
    """Bit masks; of this thread."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    halves = [(effective >> shift & 0xFFFFFFFF, permitted >> shift & 0xFFFFFFFF, 0) for shift in (0, 32)]
    _system(_libc.capset(header, (ctypes.c_uint32 * 6)(*halves[0], *halves[1])))  # nothing is inheritable


def _permitted() -> int:
    line = next(line for line in Path("/proc/thread-self/status").read_text().splitlines() if line.startswith("CapPrm:"))
    return int(line.split()[1], 16)


def _prctl(option: int, value: int) -> None:
    _system(_libc.prctl(option, *map(ctypes.c_ulong, (value, 0, 0, 0))))


def _mount(source: str, target: Path, flags: int, kind: str = "none", words: str = "") -> None:
    _system(_libc.mount(source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), words.encode()))


def _system(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
