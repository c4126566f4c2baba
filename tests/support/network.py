"""A second machine as far as networks go: a namespace of this one, whose link can be taken down."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .clusters import kill

NAMED = "ablation-"


def names_of(pid: int) -> tuple[str, str, str]:
    """The namespace, the bridge and the link of a process."""
    return f"{NAMED}{pid}", f"abb{pid}", f"abl{pid}"


NAMESPACE, BRIDGE, LINK = names_of(os.getpid())
HERE, THERE = "198.51.100.1", "198.51.100.2"
"""The addresses of this machine and of the second one, of a block that no network uses."""


def reason_missing() -> str | None:
    """Why there can be none here; None where there can."""
    if shutil.which("ip") is None:
        return "the command ip is not installed (Debian: iproute2)"
    if os.geteuid() != 0:
        return "namespaces of networks need root"
    for pid in others():
        if Path(f"/proc/{pid}").exists():
            return f"the process {pid} has it"
        remove(pid)  # was killed
    try:
        with second_machine():
            return None
    except subprocess.CalledProcessError as error:
        return f"no network of its own: {error.stderr.decode().strip()}"


@contextmanager
def second_machine() -> Iterator[None]:
    """It ends with the block, as do the programs that run on it."""
    try:
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("address", "add", f"{HERE}/24", "dev", BRIDGE)
        ip("netns", "add", NAMESPACE)
        ip("link", "add", LINK, "type", "veth", "peer", "name", "eth0", "netns", NAMESPACE)
        ip("link", "set", LINK, "master", BRIDGE)
        ip("-n", NAMESPACE, "address", "add", f"{THERE}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", NAMESPACE, "link", "set", device, "up")
        for device in (BRIDGE, LINK):
            ip("link", "set", device, "up")
        yield
    finally:
        remove(os.getpid())


def cut() -> None:
    """Drop all packets between the machines; connections stay open on both."""
    ip("link", "set", LINK, "down")


def reconnect() -> None:
    ip("link", "set", LINK, "up")


def on_it(*words: str) -> list[str]:
    """A command as a command of the second machine, which has a name of its own."""
    named = ["unshare", "--uts", "sh", "-c", f'hostname {NAMESPACE} && exec "$@"', "sh"]
    return ["ip", "netns", "exec", NAMESPACE, *named, *words]


def end_programs(namespace: str = NAMESPACE) -> None:
    found = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True)
    for pid in found.stdout.split():
        kill(int(pid), signal.SIGKILL)


def others() -> list[int]:
    """The processes that have, or had, second machines."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
    names = [line.split()[0] for line in listed.splitlines()]
    return [int(name.removeprefix(NAMED)) for name in names if name.startswith(NAMED)]


def remove(pid: int) -> None:
    """Remove what a process has set up."""
    namespace, bridge, link = names_of(pid)
    end_programs(namespace)
    for words in (("netns", "delete", namespace), ("link", "delete", link), ("link", "delete", bridge)):
        with suppress(subprocess.CalledProcessError):  # it is not there
            ip(*words)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
