"""Secrets: recognized in what a user writes, and removed from what is printed, logged and recorded."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REDACTED = "[redacted]"
SHORTEST = 8
"""Characters of the value of an environment variable from which on it is taken for a secret: ``true`` is none."""

_SECRET_VARIABLE = re.compile("KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
_SECRET_KEY = re.compile(
    r"(.*[_.-])?(api[_-]?key|access[_-]?key|private[_-]?key|secret([_-]?key)?|password|passwd|passphrase|credentials?)"
    r"|((.*[_.-])?(access|auth|bearer|refresh|api|hf|github|wandb)[_-]?)?token",
    re.IGNORECASE,
)
_USER_IN_URL = re.compile(r"(?<=://)[^\s/@'\"]*:[^\s/@'\"]+(?=@)")
_TOKEN = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"hf_[A-Za-z0-9]{20,}"  # Hugging Face
    r"|gh[oprsu]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}"  # GitHub
    r"|glpat-[A-Za-z0-9_-]{20,}"  # GitLab
    r"|sk-[A-Za-z0-9_-]{20,}"  # OpenAI, Anthropic
    r"|wandb_v[0-9]_[A-Za-z0-9_]{20,}|[0-9a-f]{40}(?![0-9a-zA-Z])"  # W&B
    r"|A[KS]IA[0-9A-Z]{16}(?![0-9A-Za-z])"  # AWS
    r"|AIza[A-Za-z0-9_-]{35}"  # Google
    r"|xox[abeprs]-[A-Za-z0-9-]{10,}"  # Slack
    r"|eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+"  # JSON web tokens
    r")"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
)


def redact(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """``text`` without secrets: what environment variables keep, the user of a URL, tokens of known shapes.

    Variables count whose names have KEY, TOKEN, SECRET, PASSWORD or CREDENTIAL in them, unless they name a file.
    """
    for name, value in sorted(environment.items(), key=lambda item: -len(item[1])):  # one may be a part of another
        if len(value) >= SHORTEST and value in text and _SECRET_VARIABLE.search(name) and not _is_file(value):
            text = text.replace(value, REDACTED)
    return _TOKEN.sub(REDACTED, _USER_IN_URL.sub(REDACTED, text))


def redact_values(value: Any) -> Any:
    """Plain data with ``redact`` applied to every string in it that is no key."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: redact_values(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [redact_values(part) for part in value]
    return value


def reason_secret(key: str, value: object) -> str | None:
    """Why ``value`` under ``key`` looks like a secret, which no file should hold; None where it does not."""
    if not isinstance(value, str) or not value:
        return None
    if _SECRET_KEY.fullmatch(key):
        return f"a secret ({key}) does not belong into a file; put it into an environment variable"
    if _USER_IN_URL.search(value):
        return "a URL with a password does not belong into a file; put it into an environment variable"
    if _TOKEN.search(value):
        return "this looks like an access token, which does not belong into a file; use an environment variable"
    return None


def _is_file(value: str) -> bool:
    try:
        return Path(value).exists()
    except (OSError, ValueError):
        return False
