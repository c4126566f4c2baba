"""Online, offline or disabled: decided once, before training, without importing wandb."""

import configparser
import netrc
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast
from urllib.parse import urlsplit

MODES = ("online", "offline", "disabled")
DEFAULT_BASE_URL = "https://api.forge.coreweave.com"  # wandb 0.31
FORMER_HOST = "api.wandb.ai"  # keys saved for it are accepted for the default server
CONNECT_SECONDS = 2.0


@dataclass(frozen=True)
class Mode:
    """Where runs are mirrored to; `reason` is one line for the user when `auto` did not end online."""

    mode: Literal["online", "offline", "disabled"]
    reason: str | None = None


def resolve_mode(mode: Literal["auto", "online", "offline", "disabled"], environment: Mapping[str, str]) -> Mode:
    """The mode that is used, from the configured one.

    An explicit mode holds, whatever the environment says. `auto` follows WANDB_MODE; without it, it is online if a key
    is found (in the environment, or in the netrc file for the server's host) and the server accepts a TCP connection
    within 2 s, and offline otherwise.

    Raises:
        ValueError: `mode` is none of the four.
    """
    if mode in MODES:
        return Mode(cast(Literal["online", "offline", "disabled"], mode))
    if mode != "auto":
        raise ValueError(f"tracking mode {mode!r} is none of auto, {', '.join(MODES)}")
    if named := environment.get("WANDB_MODE"):
        if named not in MODES:
            return Mode("offline", f"WANDB_MODE={named} is none of {', '.join(MODES)}")
        return Mode(
            cast(Literal["online", "offline", "disabled"], named),
            None if named == "online" else f"WANDB_MODE={named}",
        )
    server = urlsplit(_base_url(environment))
    if not _has_key(environment, server.netloc):
        return Mode("offline", f"no API key for {server.netloc} (`wandb login` saves one)")
    # Behind a proxy nothing else can be reached directly, and wandb goes through it too.
    proxy = environment.get(f"{server.scheme}_proxy") or environment.get(f"{server.scheme}_proxy".upper())
    target = urlsplit(proxy if "://" in proxy else f"http://{proxy}") if proxy else server
    port = target.port or (443 if target.scheme == "https" else 80)
    if problem := _connection_problem(target.hostname or "", port):
        return Mode("offline", f"{target.hostname}:{port} cannot be reached ({problem})")
    return Mode("online")


def _home(environment: Mapping[str, str]) -> Path:
    home = environment.get("HOME") or environment.get("USERPROFILE")
    return Path(home) if home else Path.home()


def _base_url(environment: Mapping[str, str]) -> str:
    """The server: the environment's, else the one `wandb login --host` saved, else wandb's default."""
    if url := environment.get("WANDB_BASE_URL"):
        return url
    folder = environment.get("WANDB_CONFIG_DIR")
    settings = configparser.ConfigParser(interpolation=None)
    try:
        settings.read((Path(folder) if folder else _home(environment) / ".config" / "wandb") / "settings")
    except (configparser.Error, UnicodeDecodeError):
        return DEFAULT_BASE_URL
    return settings.get("default", "base_url", fallback=DEFAULT_BASE_URL)


def _has_key(environment: Mapping[str, str], host: str) -> bool:
    if environment.get("WANDB_API_KEY") or environment.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    home = _home(environment)
    files = [Path(environment["NETRC"])] if environment.get("NETRC") else [home / ".netrc", home / "_netrc"]
    hosts = (host, FORMER_HOST) if host == urlsplit(DEFAULT_BASE_URL).netloc else (host,)
    for file in files:
        try:
            known = netrc.netrc(file)
        except (OSError, netrc.NetrcParseError):
            continue
        if any(entry[2] for name in hosts if (entry := known.authenticators(name))):
            return True
    return False


def _connection_problem(host: str, port: int) -> str:
    """What is wrong with a TCP connection, an empty string for nothing."""
    problems: list[str] = []

    def connect() -> None:
        try:
            socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
            problems.append("")
        except OSError as error:
            problems.append(error.strerror or str(error))

    # In a thread of its own, because name resolution has no timeout.
    thread = threading.Thread(target=connect, name="wandb-probe", daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    return problems[0] if problems else f"no answer within {CONNECT_SECONDS:.0f} s"
