"""System calls that no process of ours makes and that somebody who got into one would: refused by the kernel (seccomp(2)).

A list of what is forbidden, not of what is allowed: libraries change what they call with every version, and a telephone system that
stops because of that helps nobody. What is refused fails with EPERM. clone3 fails with ENOSYS, for a filter cannot see into its
argument; the C library then uses clone, whose flags are looked at: nobody makes a namespace.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import platform
import struct

# name -> its number on x86-64 and on arm64; None: not there
FORBIDDEN: dict[str, tuple[int, int | None]] = {
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "pidfd_getfd": (438, 438),
    "kcmp": (312, 272), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    # the kernel
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "bpf": (321, 280), "syslog": (103, 116), "ioperm": (173, None), "iopl": (172, None),
    "modify_ldt": (154, None), "lookup_dcookie": (212, 18), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    # the file system
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "move_mount": (429, 429),
    "open_tree": (428, 428), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "quotactl": (179, 60),
    "quotactl_fd": (443, 443), "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89),
    # the machine
    "reboot": (169, 142), "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266),
    "adjtimex": (159, 171), "sethostname": (170, 161), "setdomainname": (171, 162), "vhangup": (153, 58),
    # namespaces
    "setns": (308, 268), "unshare": (272, 97),
}  # fmt: skip
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column above, AUDIT_ARCH_*
CLONE = (56, 220)
CLONE3 = 435
NAMESPACES = 0x7E020080  # CLONE_NEW* but that of time, which is no flag of clone
X32 = 0x40000000  # bit of a number in the other way to call an x86-64 kernel
# <linux/bpf_common.h>: load a word, jump if equal, if at least, if a bit is set, return
LOAD, EQUAL, LEAST, BITS, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, ERROR = 0x7FFF0000, 0x00050000  # SECCOMP_RET_*
NUMBER, ARCHITECTURE, FIRST = 0, 4, 16  # offsets in struct seccomp_data; of an argument its low half
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER = 38, 22, 2  # <linux/prctl.h>, <linux/seccomp.h>
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4

Step = tuple[int, int, int, int]  # code, jump if true, jump if false, value

log = logging.getLogger("supervisor")


def confine() -> None:
    """For this process and all it starts, for good. Capabilities that systemd gave it are its own from now on: what it starts has none. A
    kernel without seccomp confines nothing; that is logged."""
    libc = ctypes.CDLL(None, use_errno=True)

    def prctl(*words: int) -> int:
        return int(libc.prctl(*map(ctypes.c_ulong, (*words, *[0] * (5 - len(words))))))

    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    if (steps := program(platform.machine())) is None:
        return
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    head = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(code)))
    if prctl(PR_SET_SECCOMP, FILTER, ctypes.addressof(head)) != 0:
        log.info("system calls are not confined: %s", errno.errorcode.get(ctypes.get_errno(), "unknown"))


def program(machine: str) -> list[Step] | None:
    """The filter (classic BPF); None: the numbers of this machine are not known here."""
    if machine not in MACHINES:
        return None
    column, architecture = MACHINES[machine]
    forbidden = sorted(number for numbers in FORBIDDEN.values() if (number := numbers[column]) is not None)
    tests: list[tuple[int, int]] = [(LEAST, X32), *((EQUAL, number) for number in forbidden)]
    refuse = 3 + 2 + len(tests) + 3  # index of the step before the last
    steps: list[Step] = [(LOAD, 0, 0, ARCHITECTURE), (EQUAL, 0, refuse - 2, architecture), (LOAD, 0, 0, NUMBER)]
    steps += [(EQUAL, 0, 1, CLONE3), (RETURN, 0, 0, ERROR | errno.ENOSYS)]
    for code, value in tests:
        steps.append((code, refuse - len(steps) - 1, 0, value))  # a jump counts the steps in between, at most 255
    steps += [(EQUAL, 0, 3, CLONE[column]), (LOAD, 0, 0, FIRST), (BITS, 0, 1, NAMESPACES)]
    steps += [(RETURN, 0, 0, ERROR | errno.EPERM), (RETURN, 0, 0, ALLOW)]
    return steps
