"""A second machine as far as networks go: a namespace of this one with an address and a cable that can be cut."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from .clusters import kill

BRIDGE, CABLE, NAMESPACE = "ablation0", "ablation1", "ablation"
HERE, THERE = "198.51.100.1", "198.51.100.2"
"""The addresses of this machine and of the second one, of a block that no network uses."""


def reason_missing() -> str | None:
    """Why there can be none here; None where there can."""
    if shutil.which("ip") is None:
        return "the command ip is not installed (Debian: iproute2)"
    if os.geteuid() != 0:
        return "namespaces of networks need root"
    remove()  # what a killed process may have left
    tried = subprocess.run(["ip", "netns", "add", NAMESPACE], capture_output=True, text=True)
    if tried.returncode != 0:
        return f"no namespace of networks: {tried.stderr.strip()}"
    ip("netns", "delete", NAMESPACE)
    return None


@contextmanager
def second_machine() -> Iterator[None]:
    """It, with the programs that run on it, ends with the block."""
    try:
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("address", "add", f"{HERE}/24", "dev", BRIDGE)
        ip("netns", "add", NAMESPACE)
        ip("link", "add", CABLE, "type", "veth", "peer", "name", "eth0", "netns", NAMESPACE)
        ip("link", "set", CABLE, "master", BRIDGE)
        ip("-n", NAMESPACE, "address", "add", f"{THERE}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", NAMESPACE, "link", "set", device, "up")
        for device in (BRIDGE, CABLE):
            ip("link", "set", device, "up")
        yield
    finally:
        remove()


def cut() -> None:
    """Neither machine hears from the other again, nor that it will not."""
    ip("link", "set", CABLE, "down")


def mend() -> None:
    """End all programs of the second machine, and connect it again."""
    end_programs()
    ip("link", "set", CABLE, "up")


def on_it(*words: str) -> list[str]:
    """A command as a command of the second machine, which has a name of its own."""
    named = ["unshare", "--uts", "sh", "-c", f'hostname {NAMESPACE} && exec "$@"', "sh"]
    return ["ip", "netns", "exec", NAMESPACE, *named, *words]


def end_programs() -> None:
    found = subprocess.run(["ip", "netns", "pids", NAMESPACE], capture_output=True, text=True)
    for pid in found.stdout.split():
        kill(int(pid), signal.SIGKILL)


def remove() -> None:
    end_programs()
    for words in (("netns", "delete", NAMESPACE), ("link", "delete", CABLE), ("link", "delete", BRIDGE)):
        with suppress(subprocess.CalledProcessError):  # it is not there
            ip(*words)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
