"""What is masked, as a table; and what must stay readable."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
SECRET = "hunter", "wJalr", "AKIA", "4821", "4eC39", "ngeVf", "16C7", "550e", "d41d8", "p4ss", "ub4dor"
SHAPES = [
    "DB_PASS=hunter2",
    '"password": "hunter2"',
    "postgres://ada:hunter2/x#1@db:5432/x",
    "postgres://ada:h@un:ter2?x@db/x",
    "machine h.example login ada password hunter",
    "curl -u ada:hunter https://x",
    "curl --user ada:hunter x",
    "https://hooks.slack.com/services/T00AB12CD/B00AB12CD/hunterXyZ12abc",
    "https://discord.com/api/webhooks/123456789012345678/aBcDhunter2_x-y",
    "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AKIAIOSFODNN7EXAMPLE",
    "Authorization: Bearer hunter",
    "Bearer abc.def.ghi",
    "Set-Cookie: session=hunter; Path=/",
    "GET /x?sig=hunter&a=hunter2x",
    "Server=tcp:db;User ID=ada;Password=hunter;",
    "DefaultEndpointsProtocol=https;AccountName=x;AccountKey=hunter==;",
    "mysql -u root -phunter2 db",
    "mysql -u root -phunter db",
    "redis://:hunter@h:6379/0",
    "PGPASSWORD=hunter psql",
    "export API=hunter",
    "passphrase: hunter two three",
    "password is hunter",
    "my pin is 4821",
    "env: {'SECRET': 'hunter', 'X': 'hunter9'}",
    "SECRET_KEY='hunter'",
    "client_secret=hunter",
    "<password>hunter</password>",
    "password>hunter<",
    "kubectl --token hunter get",
    "--password hunter",
    "--api-key=hunter",
    "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQhunter ada@x",
    "aGVsbG8gaHVudGVyMiB3b3JsZA==",
    "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
    "SG.ngeVfQFYQlKU0ufo8x5d1A.TwL2iGABf9DHoTf",
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "xoxb-123-456-hunterABC",
    "npm_hunterabcdefghijklmnopqrstuvwxyz01",
    "550e8400-e29b-41d4-a716-446655440000",
    "d41d8cd98f00b204e9800998ecf8427e",
    "//npm.example/:_authToken=hunter",
    "[default]\nkey = hunter",
    "token hunter",
    "user=ada pass=hunter",
    "'pass': 'hunter'",
    "Password:hunter",
    "pw: hunter",
    "jdbc:oracle:thin:ada/hunter@db:1521/x",
    "smtp login ada hunter2",
    "mongodb+srv://ada:hunter%40@c.mongodb.net/?x=1",
    "p4ssw0rd!",
    "Tr0ub4dor&3",
    "correct-horse-battery-staple9",
    "x-api-key: hunter",
    "X-Auth-Token: hunter",
    "https://hunter@git.example/x.git",
    "https://x.example/?key=hunter&next=/a",
    "print(os.environ) environ({'HOME': '/root', 'DB_PW': 'hunter'})",
    "PASSWORD hunter",
    "passwd hunter",
    "TOKEN\thunter",
    "Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request",
    "private_key_id: hunter",
    "secret=hunter two",
    "AZURE_STORAGE_CONNECTION_STRING=hunter",
    "https://abcdef0123456789abcdef0123456789@o1.ingest.sentry.io/12",
    "hunter2",
    "the answer was xK9fQ2mPz7",
    "docker login -u ada -p hunter reg",
    "sshpass -p hunter ssh x",
    "wget --password=hunter u",
    "openssl -passin pass:hunter",
    "git clone https://oauth2:hunter@gitlab.com/x",
    "age1hunter9xyzq",
    "ANTHROPIC=hunter-abc",
    "otpauth://totp/x?secret=hunter",
    "aGVsbG8gaHVudGVyMiB3b3JsZA==",
    "https://abcdef0123456789abcdef0123456789@o1.ingest.example/12",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIhunter",
    '{"auths": {"reg.example": {"auth": "aHVudGVyMg=="}}}',
    "https://host.example/path/x/aB3dE5fG7#access=hunter",
    "user:hunter@host.example:/srv",
    r"{\"password\":\"hunter\"}",
    "PASSWORD=hunter;still=hunter the hunter",
]
PIECES = *SECRET, "staple9", "xK9", "aGVsb", "abcdef01", "AAAAB3", "AAAAC3", "aHVud", "bPxRf", "aBcD", "aB3d", "electro"
STAYS = [
    "2026-11-18T10:26:40.000Z [W ServerApp] 404 GET /notebook-mnist-ada/x.ipynb (127.0.0.1) 3.20ms referer=None",
    "info    daemon_ready version=0.1.0 socket=/run/user/1000/kaosd/kaosd.sock front=http://127.0.0.1:8890",
    "Traceback (most recent call last):",
    '  File "/home/ada/work/train2.py", line 3, in <module>',
    "    import foo",
    "ModuleNotFoundError: No module named 'foo'",
    " + numpy==2.3.5",
    " + jupyter-server-terminals==0.5.3",
    "step 2/4 resolve the requirements",
    "  x No solution found when resolving dependencies:",
    "  ╰─▶ Because nosuchpackage was not found in the package registry and you require nosuchpackage, we give up.",
    "error: Failed to download `torch==2.9.1`",
    'warning build_failed notebook=nb1 error="the build failed: no such package" seconds=3.2',
    "Kernel started: 550e8400-e29b-41d4-a716-446655440000",
    "MemoryError: Unable to allocate 4.5 GiB for an array with shape (1000, 2000) and data type float64",
    "https://index.example/simple/numpy/",
    "numpy-2.3.5-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
    "OSError: [Errno 28] No space left on device: '/home/ada/.cache/uv'",
    "kaosd.toml:4: front.port: 'x' is not a number; write a whole number from 1 to 65535",
    "ConnectionRefusedError: [Errno 111] Connection refused",
    'engine = "docker"',
    'memory = "4Gi"',
    'source = "~/projects/notebook/example"',
    "CUDA error: out of memory; GPU 0 has 23.65 GiB",
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


@pytest.mark.parametrize("text", SHAPES)
def test_no_shape_of_a_secret_is_let_through(text: str) -> None:
    masked = Masks().text(text)
    assert MASK in masked
    assert [piece for piece in PIECES if piece in masked] == []
    assert [piece for piece in PIECES if piece in str(Masks().value({"reason": text, "list": [text]}))] == []


@given(st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/=_-", min_size=20, max_size=60))
def test_what_looks_like_chance_is_masked_wherever_it_stands(text: str) -> None:
    parts = [part for part in re.split(r"[\W_]+", text) if part]
    odd = [part for part in parts if len(part) > 9 and re.search(r"\d[a-zA-Z]+\d", part)]
    masked = Masks().text(f"the answer was {text} and that was it")
    assert masked.startswith("the answer was ")
    assert not any(part in masked for part in odd)


def test_names_that_kaosd_has_given_stay() -> None:
    text = "nb7x9k2 at /srv/u5er9x/pr0j3ct is example7x:1f3c9aa"
    assert Masks().text(text) != text
    assert Masks(harmless=["nb7x9k2", "/srv/u5er9x/pr0j3ct", "example7x:1f3c9aa"]).text(text) == text


def test_of_a_line_without_end_the_beginning_is_shown() -> None:
    masked = Masks().text("word " * 10_000 + "\nnext")
    assert len(masked) < 5000
    assert masked.endswith("characters were left out\nnext")


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
