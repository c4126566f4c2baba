"""Secrets are refused in files, and removed from errors, records and what goes to W&B."""

import json

import pytest

from ablation.errors import InputError
from ablation.secrets import REDACTED, reason_secret, redact, redact_values
from ablation.yaml import parse, parse_value

TOKENS = [
    "hf_" + "aB3" * 11,
    "ghp_" + "x1" * 18,
    "github_pat_" + "11A_" * 8,
    "glpat-" + "a-B_" * 6,
    "sk-proj-" + "Ab1_" * 8,
    "0123456789abcdef" * 2 + "01234567",
    "AKIA" + "ABCD1234" * 2,
    "AIza" + "Sy_-a" * 7,
    "xoxb-1234567890-abc",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
]
HARMLESS = [
    "0123456789abcdef" * 4,
    "0123456789abcdef" * 2,
    "task-0123456789abcdefghijkl",
    "risk-free",
    "block=pre_norm",
]


@pytest.mark.parametrize("token", TOKENS)
def test_token_is_redacted_and_refused_in_yaml(token: str) -> None:
    assert redact(f"denied for {token}, sorry", {}) == f"denied for {REDACTED}, sorry"
    with pytest.raises(InputError, match=r"^file:1:8: a\[1\]: .*environment variable$") as caught:
        parse(f"a: [1, {json.dumps(token)}]", "file")
    assert token[:12] not in str(caught.value)
    with pytest.raises(InputError):
        parse_value("task.path", token.partition("\n")[0], "--set task.path")


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_token_stays(text: str) -> None:
    assert redact(f"denied for {text}, sorry", {}) == f"denied for {text}, sorry"
    assert parse(f"a: {text}", "file").value == {"a": text}


def test_password_in_a_url_is_redacted_and_refused() -> None:
    assert redact("GET https://me:pa55@host/x?y failed", {}) == f"GET https://{REDACTED}@host/x?y failed"
    assert redact("see https://host:80/a@b", {}) == "see https://host:80/a@b"
    with pytest.raises(InputError, match=r"^file:1:1: path: a URL with a password"):
        parse("path: https://me:pa55@host/x", "file")


@pytest.mark.parametrize(
    "key", ["api_key", "apiKey", "WANDB_API_KEY", "password", "hf_token", "token", "client-secret"]
)
def test_key_of_a_secret_is_refused(key: str) -> None:
    with pytest.raises(InputError, match=r"^file:1:\d+: .*a secret ") as caught:
        parse(f"tracking: {{{key}: hunter2}}", "file")
    assert "hunter2" not in str(caught.value)
    assert parse(f"{key}: null", "file").value == {key: None}


@pytest.mark.parametrize("key", ["tokenizer", "tokens", "max_tokens", "key", "monkey", "secretary", "value"])
def test_other_keys_are_no_secrets(key: str) -> None:
    assert reason_secret(key, "hunter2") is None


def test_secrets_of_the_environment_are_redacted(tmp_path) -> None:
    environment = {
        "WANDB_API_KEY": "correcthorse",
        "MY_PASSWORD": "correcthorsebattery",
        "SECRET_MODE": "true",
        "CREDENTIALS": str(tmp_path),
        "HOME": "/home/somebody",
    }
    text = f"correcthorse correcthorsebattery true {tmp_path} /home/somebody"
    assert redact(text, environment) == f"{REDACTED} {REDACTED} true {tmp_path} /home/somebody"


def test_redaction_keeps_all_but_texts() -> None:
    value = {"a": [TOKENS[0], 1, None, (True, 2.5)], TOKENS[1]: "x"}
    assert redact_values(value) == {"a": [REDACTED, 1, None, [True, 2.5]], TOKENS[1]: "x"}


def test_error_for_the_user_has_no_secrets(monkeypatch) -> None:
    monkeypatch.setenv("SERVICE_TOKEN", "s3cr3t-s3cr3t")
    assert str(InputError("s3cr3t-s3cr3t is no path")) == f"{REDACTED} is no path"
