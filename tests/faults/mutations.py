"""Damage to files, seeded: to their bytes, their tokens, their structure and the types of their values."""

import json
import random
import re
from collections.abc import Callable
from copy import deepcopy
from itertools import islice
from typing import Any

import yaml

NASTY: list[Any] = [
    None, True, False, -1, 0, 1, 2, 1.5, -0.5, 1e-300, 1e308, -1e308, 10**6, 10**12, 2**31, 2**63, 10**400,
    float("nan"), float("inf"), "", " ", ".", "..", "../../x", "/etc/passwd", "nul", "con.txt", "a.", "x" * 5000,
    "\x1b[31m[red]\u202e\x9b", "[link=http://x]", "a\nb", "=1+1", "1e5", "true", "\ud800",
    "0123456789abcdef0123456789abcdef",
    [], {}, [[]], [None], {"name": "x"}, {"name": None}, {"": ""}, {"label": "x"}, {"value": 1}, [1, "a", None],
]  # fmt: skip
TOKENS = [
    b"\x00", b"\x1b[31m", "\u202e".encode(), b"\xff", b"\xed\xa0\x80", b"\t", b"\r", b"&a", b"*a", b"<<: *a",
    b"!!python/name:x",
    b"---", b"...", b"{", b"}", b"[", b"]", b'"', b"'", b"#", b": ", b"- ", b"|", b">", b"? ", b"%YAML 1.1", b"1e400",
    b"0o8",
    b"012", b"~", b"null", b"NaN", b"9" * 200, b"[" * 60, b"[" * 3000, b'{"a":' * 3000,
    b"1_000", b"12:30", b"2001-01-01", b"\xef\xbb\xbf",
]  # fmt: skip

MOST_PLACES = 20_000


def _nasty(rng: random.Random) -> Any:
    return deepcopy(rng.choice(NASTY))  # which later damage may change


Mutation = Callable[[random.Random, bytes], bytes]


def damage_bytes(rng: random.Random, content: bytes) -> bytes:
    """Bytes changed, left out, doubled or cut off."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 3, 20))):
        at, length = rng.randrange(len(data) + 1), rng.choice((1, 1, 4, 50))
        how = rng.randrange(5)
        if how == 0 and at < len(data):
            data[at] = rng.randrange(256)
        elif how == 1:
            del data[at : at + length]
        elif how == 2:
            data[at:at] = data[at : at + length]
        elif how == 3:
            data[at:at] = rng.choice(TOKENS)
        elif rng.random() < 0.2:
            del data[at:]
    return bytes(data)


def damage_tokens(rng: random.Random, content: bytes) -> bytes:
    """Words, numbers and signs exchanged for each other or for nasty ones; lines left out, doubled or indented."""
    if rng.random() < 0.4:
        lines = content.split(b"\n")
        at = rng.randrange(len(lines))
        how = rng.randrange(4)
        if how == 0:
            del lines[at]
        elif how == 1:
            lines.insert(rng.randrange(len(lines)), lines[at])
        elif how == 2:
            lines[at] = b" " * rng.choice((1, 2, 4)) + lines[at]
        else:
            lines[at] = lines[at].lstrip()
        return b"\n".join(lines)
    tokens = re.findall(rb"[\w.+-]+|\s+|.", content, re.DOTALL) or [b""]
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(tokens))
        scalar = json.dumps(_nasty(rng)).encode()
        tokens[at] = rng.choice((rng.choice(tokens), rng.choice(TOKENS), scalar, b"", tokens[at] * 2))
    return b"".join(tokens)


def damage_json(rng: random.Random, content: bytes) -> bytes:
    """The same for a JSON document: keys and values dropped, moved, nested, of another type."""
    return json.dumps(_restructured(rng, json.loads(content))).encode()


def damage_yaml(rng: random.Random, content: bytes) -> bytes:
    """The same for YAML; a value that is in two places becomes an alias."""
    value = _restructured(rng, yaml.safe_load(content))
    try:
        text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=rng.random() < 0.5)
    except (yaml.YAMLError, RecursionError):
        text = json.dumps(value)
    return text.encode(errors="surrogatepass")


def damage_lines(rng: random.Random, content: bytes) -> bytes:
    """The same for one line of JSON lines."""
    lines = content.splitlines()
    at = rng.randrange(len(lines))
    lines[at] = damage_json(rng, lines[at])
    return b"\n".join(lines) + b"\n"


def _restructured(rng: random.Random, document: Any) -> Any:
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        places = list(islice(_places(document), MOST_PLACES))
        if len(places) == MOST_PLACES:
            return document  # another step could double it once more
        if not places:
            return _nasty(rng)
        owner, key = rng.choice(places)
        how = rng.randrange(9)
        if how == 0:
            del owner[key]
        elif how <= 3:
            owner[key] = _nasty(rng)
        elif how == 4:
            other, other_key = rng.choice(places)
            owner[key] = _copied(other[other_key])
        elif how == 5 and isinstance(owner, dict):
            renamed = rng.choice((str(key) + "s", str(key)[1:], str(key).upper(), str(_nasty(rng))[:100]))
            owner[renamed] = owner.pop(key)
        elif how == 6:
            nested = owner[key]
            for _ in range(rng.choice((1, 2, 60, 300))):
                nested = [nested] if rng.random() < 0.5 else {"name": nested}
            owner[key] = nested
        elif how == 7 and isinstance(owner, list):
            owner.extend([owner[key]] * rng.choice((1, 3, 1000)))
        elif isinstance(owner[key], int | float) and not isinstance(owner[key], bool):
            owner[key] = rng.choice((-owner[key], str(owner[key]), owner[key] * 1000, float(owner[key]), [owner[key]]))
    return document


def _copied(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _places(node: Any) -> Any:
    """(owner, key or index) of every value inside a document."""
    items = list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
    for key, part in items:
        yield node, key
        yield from _places(part)


BY_ENDING: dict[str, tuple[Mutation, ...]] = {
    ".json": (damage_json, damage_json, damage_tokens, damage_bytes),
    ".yaml": (damage_yaml, damage_yaml, damage_tokens, damage_bytes),
    ".jsonl": (damage_lines, damage_lines, damage_tokens, damage_bytes),
}
OF_TEXT: tuple[Mutation, ...] = (damage_tokens, damage_bytes)


def mutate(rng: random.Random, name: str, content: bytes) -> bytes:
    """A damaged copy of the content of a file of that name."""
    ending = name[name.rfind(".") :]
    damaged = rng.choice(BY_ENDING.get(ending, OF_TEXT))(rng, content)
    return damaged if rng.random() < 0.9 else damage_bytes(rng, damaged)
