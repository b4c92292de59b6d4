"""What is masked, as a table; and what must stay readable."""

from __future__ import annotations

import pytest

from kaosd.ctl.masking import MASK, Masks, names_a_secret

OLD = "0123456789ab" * 4  # 48 digits, as the tokens of kaosd have
BLOCK = "-----BEGIN {0}PRIVATE KEY-----\nMIIEvQIBADANBg\n-----END {0}PRIVATE KEY-----"

MASKED = {
    "GET /lab?token=hunter2&x=1": f"GET /lab?token={MASK}&x=1",
    "url%3Ftoken%3Dhunter2": f"url%3Ftoken%3D{MASK}",
    "password = hunter2": f"password = {MASK}",
    'password = "hunter 2"': f'password = "{MASK}"',
    "DB_PASSWORD='hunter2'": f"DB_PASSWORD='{MASK}'",
    "{'api_key': 'hunter2', 'a': 1}": f"{{'api_key': '{MASK}', 'a': 1}}",
    '{"secret":"hunter2","a":1}': f'{{"secret":"{MASK}","a":1}}',
    r"{\"token\": \"hunter2\"}": rf"{{\"token\": \"{MASK}\"}}",
    "# passwd: hunter2": f"# passwd: {MASK}",
    "export AWS_SECRET_ACCESS_KEY=hunter2": f"export AWS_SECRET_ACCESS_KEY={MASK}",
    "Authorization: token hunter2": f"Authorization: {MASK}",
    "'authorization': 'Basic aHVudGVyMg=='": f"'authorization': {MASK}",
    "Cookie: _xsrf=hunter2; username=me": f"Cookie: {MASK}",
    "sent Bearer hunter2hunter2": f"sent Bearer {MASK}",
    "cloning https://ada:hunter2@git.example/x.git": f"cloning https://{MASK}@git.example/x.git",
    "index http://hunter2:p@ss@host/index": f"index http://{MASK}@host/index",
    "postgresql+psycopg://ada:hunter2@db/x": f"postgresql+psycopg://{MASK}@db/x",
    "sig=hunter2": f"sig={MASK}",
    BLOCK.format("RSA "): MASK,
    "a\n" + BLOCK.format("") + "\nb": f"a\n{MASK}\nb",
    "cut off -----BEGIN OPENSSH PRIVATE KEY-----\nabc": f"cut off {MASK}",
    "MIIEvQ\n-----END PRIVATE KEY-----\nb": f"{MASK}\nb",
    "ghp_" + "a1" * 18: MASK,
    "AKIA" + "A1" * 8: MASK,
    "hf_" + "aB" * 17: MASK,
    "key eyJ" + "a" * 10 + ".eyJ" + "b" * 10 + "." + "c" * 10: f"key {MASK}",
    f"an old token {OLD} of ours": f"an old token {MASK} of ours",
}
STAYS = [
    "2026-11-18T10:26:40.000Z [I ServerApp] Serving notebooks from local directory: /home/ada/work",
    "deployment 7: model/train.py -> sync",
    "job " + "3f" * 16,
    "version example:1f3c9aa, digest " + "ab" * 32,
    "http://127.0.0.1:8890/notebook-mnist-ada/lab",
    "mail ada@example.org, see https://example.org/@ada/x",
    "ModuleNotFoundError: No module named 'tokenizers'",
    "author: ada, keyboard: none, monkey = 1",
    "+ numpy==2.3.5",
]


@pytest.mark.parametrize("text", MASKED)
def test_a_secret_is_masked_by_where_it_stands_or_by_its_shape(text: str) -> None:
    assert Masks().text(text) == MASKED[text]


@pytest.mark.parametrize("text", STAYS)
def test_what_is_no_secret_stays(text: str) -> None:
    assert Masks().text(text) == text


def test_known_secrets_are_masked_wherever_and_however_they_stand() -> None:
    masks = Masks(['se"cr/et&1', "se", "longer se" + '"cr/et&1', "", " padded-secret\n"])
    text = masks.text('x se"cr/et&1 y se%22cr%2Fet%261 z {"a": "se\\"cr/et&1"} longer se"cr/et&1 padded-secret se')
    assert text == f'x {MASK} y {MASK} z {{"a": "{MASK}"}} {MASK} {MASK} se'


def test_json_stays_json() -> None:
    value = {"token": "x", "n": 1, "list": ["password=x", None], "inner": {"db_key": "x", "key_count": 3}, "ok": True}
    assert Masks().value(value) == {
        "token": MASK, "n": 1, "list": [f"password={MASK}", None], "inner": {"db_key": MASK, "key_count": 3},
        "ok": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    "name", ["AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "PGPASSWORD", "HTTP_COOKIE", "API_KEY", "key"]
)
def test_names_of_secrets(name: str) -> None:
    assert names_a_secret(name)


@pytest.mark.parametrize("name", ["PATH", "LANG", "AUTHOR", "KEYBOARD", "KAOSD_STATE_DIR", "XDG_RUNTIME_DIR"])
def test_names_of_other_things(name: str) -> None:
    assert not names_a_secret(name)


@pytest.mark.parametrize("piece", ["a", "token", "a.b-", "://", "-----BEGIN ", "eyJ", '"\\', "password="])
def test_long_lines_take_no_time_beyond_their_length(piece: str) -> None:
    """A quarter of a megabyte in one line, as a log may hold; squares would run into the limit of the test."""
    assert len(Masks(["something"]).text(piece * (262_144 // len(piece)))) > 0
