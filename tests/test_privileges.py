"""Who the system is: what root hands over and what not, and the system calls that are refused. As root in a child, for there is no way back."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from appliance.host import confinement, privileges
from appliance.host.privileges import Account

ROOT = Path(__file__).parents[1]
ACCOUNT = Account(privileges.UNNAMED, privileges.UNNAMED)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can hand something over")


def owner(path: Path) -> int:
    return path.lstat().st_uid


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """As root has left it."""
    made = tmp_path / "data"
    (made / "keys").mkdir(parents=True)
    for name in ("config.db", "config.db-wal", "keys/box.key", "licence.json"):
        (made / name).write_text(name)
    return made


@needs_root
def test_what_root_made_is_handed_over_with_its_second_names(data: Path) -> None:
    (data / "aside").mkdir()
    os.link(data / "config.db", data / "aside/config.db.1")
    privileges._hand_over(data, ACCOUNT)
    assert {owner(path) for path in [data, *data.rglob("*")]} == {ACCOUNT.uid}


@needs_root
@pytest.mark.parametrize("fresh", [True, False])
def test_no_link_leads_root_to_give_away_something_else(data: Path, tmp_path: Path, fresh: bool) -> None:
    """The account may put into its folder what it likes; a name of it that root made is handed over, not what the name stands for."""
    secret, folder = tmp_path / "shadow", tmp_path / "etc"
    secret.write_text("secret")
    folder.mkdir()
    (folder / "passwd").write_text("root")
    (data / "licence.json").unlink()
    (data / "licence.json").symlink_to(secret)
    (data / "support").symlink_to(folder)
    if not fresh:
        os.chown(data, ACCOUNT.uid, ACCOUNT.gid)
        os.link(secret, data / "keys/box.id")
    privileges._hand_over(data, ACCOUNT)
    assert owner(secret) == owner(folder) == owner(folder / "passwd") == 0
    assert owner(data / "keys/box.key") == ACCOUNT.uid


@needs_root
def test_a_folder_with_other_things_stays_as_it_is(data: Path) -> None:
    assert privileges._foreign(data) == ""
    (data / "passwd").write_text("root")
    assert "passwd" in privileges._foreign(data)


@needs_root
def test_what_root_writes_into_the_accounts_folder_is_the_accounts(data: Path, tmp_path: Path) -> None:
    privileges._hand_over(data, ACCOUNT)
    theirs = tmp_path / "shadow"
    theirs.write_text("secret")
    (data / "support").symlink_to(theirs)
    with privileges.as_owner(data):  # though a folder above shuts the account out
        assert os.geteuid() == ACCOUNT.uid
        assert os.getgroups() == [ACCOUNT.gid]
        (data / "licence.json.tmp").touch()
        with pytest.raises(PermissionError):
            (data / "support").write_text("through a link")
    assert owner(data / "licence.json.tmp") == ACCOUNT.uid
    assert os.geteuid() == os.getegid() == 0
    with privileges.as_owner(data.parent):  # root's own
        assert os.geteuid() == 0


REFUSED = """
import ctypes, os, sys
from appliance.host import confinement
confinement.confine()
libc = ctypes.CDLL(None, use_errno=True)
column = confinement.MACHINES[os.uname().machine][0]
for name, numbers in confinement.FORBIDDEN.items():
    if numbers[column] is not None:
        ctypes.set_errno(0)
        print(name, libc.syscall(numbers[column], -1, -1, -1, -1, -1), ctypes.get_errno())
for name, number, flags in (("namespace", confinement.CLONE[column], 0x10000000), ("clone3", confinement.CLONE3, 0)):
    ctypes.set_errno(0)
    print(name, libc.syscall(number, flags, 0, 0, 0, 0), ctypes.get_errno())
import subprocess, threading
threading.Thread(target=print, args=("thread", 0, 0)).start()
subprocess.run([sys.executable, "-c", "print('child', 0, 0)"], check=True)
"""


@pytest.mark.skipif(os.uname().machine not in confinement.MACHINES, reason="no numbers of this machine's calls")
def test_system_calls_that_nobody_of_ours_makes_are_refused_and_threads_and_processes_are_not() -> None:
    done = subprocess.run(
        [sys.executable, "-u", "-c", REFUSED], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    said = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert said.pop("thread") == said.pop("child") == ["0", "0"]
    assert said.pop("clone3") == ["-1", str(errno.ENOSYS)]
    assert said.pop("namespace") == ["-1", str(errno.EPERM)]
    assert len(said) > 30
    assert set(map(tuple, said.values())) == {("-1", str(errno.EPERM))}


SYSTEM_PYTHON = Path("/usr/bin/python3")
HANDED_DOWN = """
import subprocess, sys
sys.path.insert(0, sys.argv[1])
import confinement
confinement.confine()
def effective(): return next(line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff"))
print(effective())
print(subprocess.run([sys.executable, "-c", "print(open('/proc/self/status').read().split('CapEff:')[1].split()[0])"], capture_output=True, text=True).stdout)
"""


@needs_root
@pytest.mark.skipif(
    shutil.which("setpriv") is None or not SYSTEM_PYTHON.exists(), reason="needs setpriv and the system's own Python"
)
def test_capabilities_that_systemd_gives_are_not_handed_down() -> None:
    """As the unit of the box has it: an account with AmbientCapabilities."""
    place = Path(tempfile.mkdtemp(prefix="switchroom-"))
    try:
        place.chmod(0o755)
        shutil.copy(confinement.__file__, place / "confinement.py")
        done = subprocess.run(
            ["setpriv", f"--reuid={ACCOUNT.uid}", f"--regid={ACCOUNT.gid}", "--clear-groups", "--inh-caps=+net_bind_service",
             "--ambient-caps=+net_bind_service", str(SYSTEM_PYTHON), "-B", "-c", HANDED_DOWN, str(place)],
            cwd="/", capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
    finally:
        shutil.rmtree(place)
    assert [int(each, 16) for each in done.stdout.split()] == [1 << privileges.KEPT["NET_BIND_SERVICE"], 0]


def run_filter(steps: list[confinement.Step], architecture: int, number: int, argument: int = 0) -> int:
    """Classic BPF as the kernel runs it."""
    words, value, at = {0: number, 4: architecture, 16: argument}, 0, 0
    while True:
        code, yes, no, operand = steps[at]
        at += 1
        if code == confinement.RETURN:
            return operand
        if code == confinement.LOAD:
            value = words[operand]
            continue
        true = {
            confinement.EQUAL: value == operand,
            confinement.LEAST: value >= operand,
            confinement.BITS: bool(value & operand),
        }[code]
        at += yes if true else no


@pytest.mark.parametrize("machine", confinement.MACHINES)
def test_the_filter_refuses_its_list_and_nothing_else_on_each_machine(machine: str) -> None:
    column, architecture = confinement.MACHINES[machine]
    steps = confinement.program(machine)
    assert steps is not None
    refused = confinement.ERROR | errno.EPERM
    forbidden = {number for numbers in confinement.FORBIDDEN.values() if (number := numbers[column]) is not None}
    for number in range(460):
        wanted = refused if number in forbidden else confinement.ALLOW
        if number == confinement.CLONE3:
            wanted = confinement.ERROR | errno.ENOSYS
        assert run_filter(steps, architecture, number) == wanted, number
    assert run_filter(steps, architecture, confinement.CLONE[column], 0x3D0F00) == confinement.ALLOW  # a thread
    assert run_filter(steps, architecture, confinement.CLONE[column], 0x20000) == refused  # a mount namespace
    assert run_filter(steps, architecture, 1 | confinement.X32) == refused
    assert run_filter(steps, architecture ^ 1, 1) == refused
    assert confinement.program("m68k") is None


def test_modes_of_what_is_made_stay_private(tmp_path: Path) -> None:
    """A folder that is made for the account is for nobody else."""
    code = f"from pathlib import Path; from appliance.host import privileges; privileges.enter(Path({str(tmp_path / 'new')!r}))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=30)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
