"""A seccomp filter under which a process can read files and compute, and nothing else.

Limits alone leave holes: the path of a socket leads out of an empty network namespace (PostgreSQL
listens on one), a size limit of zero still lets files be emptied, renamed and removed, and root is
above the limit of processes. The filter lists refusals, so that a new libc or library works on.
"""

import ctypes
import errno
import os
import platform
import struct

_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_X32_CALLS = 0x40000000
_CLONE_THREAD = 0x10000
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

# Audit number, then what the kernel's tables call these; the calls since Linux 5.1 have one number.
_REFUSED = {
    "x86_64": (
        0xC000003E,
        {
            "socket, connect, socketpair": (41, 42, 53),
            "fork, vfork, execve, execveat": (57, 58, 59, 322),
            "ptrace, process_vm_readv, process_vm_writev": (101, 310, 311),
            "truncate, rename, mkdir, rmdir, creat, link, unlink, symlink": (76, *range(82, 89)),
            "chmod, fchmod, chown, fchown, lchown, utime, mknod": (*range(90, 95), 132, 133),
            "mkdirat to fchmodat, but newfstatat and readlinkat": (
                *(258, 259, 260, 261, 263, 264, 265, 266, 268),
            ),
            "utimes, utimensat, renameat2, open_by_handle_at": (235, 280, 316, 304),
            "setxattr to fsetxattr, removexattr to fremovexattr": (*range(188, 191), 197, 198, 199),
            "pivot_root, chroot, mount, umount2, unshare, setns, bpf": (
                *(155, 161, 165, 166, 272, 308, 321),
            ),
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "socket, socketpair, connect": (198, 199, 203),
            "execve, execveat": (221, 281),
            "ptrace, process_vm_readv, process_vm_writev": (117, 270, 271),
            "truncate, mknodat to renameat, renameat2": (45, *range(33, 39), 276),
            "fchmod, fchmodat, fchownat, fchown, utimensat": (*range(52, 56), 88),
            "setxattr to fsetxattr, removexattr to fremovexattr": (*range(5, 8), *range(14, 17)),
            "umount2, mount, pivot_root, chroot, unshare, setns, bpf": (
                *(39, 40, 41, 51, 97, 268, 280),
            ),
            "open_by_handle_at": (265,),
        },
    ),
}
_REFUSED_EVERYWHERE = {
    "pidfd_send_signal, pidfd_open, pidfd_getfd": (424, 434, 438),
    "io_uring_setup, open_tree, move_mount, fsmount": (425, 428, 429, 432),
    "fchmodat2": (452,),
}
# Their arguments lie where a filter cannot look; told "unknown", libraries take the older calls.
_UNKNOWN = {"clone3, openat2": (435, 437)}
# Call number by architecture: open, openat, clone, and those that send signals.
_OPEN = {"x86_64": {2: 1, 257: 2}, "aarch64": {56: 2}}
_CLONE = {"x86_64": 56, "aarch64": 220}
_SIGNALS = {"x86_64": (62, 200, 234), "aarch64": (129, 130, 131)}


def refuse_all_but_reading() -> bool:
    """From now on this thread, and every one that it starts, can only read files and compute.

    It opens no file for writing and changes none, starts no process, signals none but its own, and
    opens no socket. Needs PR_SET_NO_NEW_PRIVS.

    Returns:
        Whether it is so; False on a kernel or processor that has no such filter.
    """
    machine = platform.machine()
    if machine not in _REFUSED:
        return False
    instructions = _filter(machine, os.getpid())
    code = b"".join(instructions)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(instructions), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0) == 0)


def _filter(machine: str, pid: int) -> list[bytes]:
    """The filter as classic BPF instructions."""
    architecture, calls = _REFUSED[machine]
    refuse, unknown = _ERRNO | errno.EPERM, _ERRNO | errno.ENOSYS
    program = [
        _word(_LOAD, _ARCHITECTURE),
        _word(_EQUAL, architecture, 1, 0),
        _word(_RETURN, refuse),
        _word(_LOAD, _NUMBER),
        _word(_AT_LEAST, _X32_CALLS, 0, 1),
        _word(_RETURN, refuse),
    ]
    for table, answer in ((calls, refuse), (_REFUSED_EVERYWHERE, refuse), (_UNKNOWN, unknown)):
        for numbers in table.values():
            for number in numbers:
                program += [_word(_EQUAL, number, 0, 1), _word(_RETURN, answer)]
    for number, argument in _OPEN[machine].items():
        program += _when(number, argument, _word(_ANY_BIT, _WRITING, 0, 1), refuse, _ALLOW)
    program += _when(_CLONE[machine], 0, _word(_ANY_BIT, _CLONE_THREAD, 0, 1), _ALLOW, refuse)
    for number in _SIGNALS[machine]:
        program += _when(number, 0, _word(_EQUAL, pid, 0, 1), _ALLOW, refuse)
    return [*program, _word(_RETURN, _ALLOW)]


def _when(number: int, argument: int, test: bytes, then: int, otherwise: int) -> list[bytes]:
    """Answer a call by a test of the low half of one of its arguments."""
    return [
        _word(_EQUAL, number, 0, 4),
        _word(_LOAD, _FIRST_ARGUMENT + 8 * argument),
        test,
        _word(_RETURN, then),
        _word(_RETURN, otherwise),
    ]


def _word(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
