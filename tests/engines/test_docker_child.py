"""What the process of a build tells of what the engine tells it. No engine."""

from __future__ import annotations

import gc
import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Lines

from kaosd.engines.docker import child
from kaosd.engines.docker.building import Builder, Heard
from kaosd.engines.docker.child import BuildOutput
from kaosd.engines.docker.connection import EngineConnection


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        (["Step 1/2 : FROM a\n", " ---> 1\n"], ["Step 1/2 : FROM a", " ---> 1"]),
        (["\x1b[91mE\x1b[0m", "\x1b[91m: \x1b[0m", "\x1b[91mno x\n\x1b[0m", "there\n"], ["E: no x", "there"]),
        (["Reading pack", "\x1b[91mW: old\n\x1b[0m", "ages\n"], ["W: old", "Reading packages"]),
        (["one\ntwo\n\nth", "ree\nfo"], ["one", "two", "", "three", "fo"]),
        (["\x1b[31mred\x1b[0m\n"], ["\x1b[31mred\x1b[0m"]),
        (["x" * (child.LINE + 1), "y\n"], ["x" * (child.LINE + 1), "y"]),
    ],
)
def test_a_line_of_a_build_is_one_however_its_pieces_come(pieces: list[str], lines: list[str]) -> None:
    output = BuildOutput()
    found = [line for piece in pieces for line in output.take(piece)]
    assert found + output.unfinished() == lines
    assert output.unfinished() == []


def test_what_a_build_says_last_is_told_before_its_failure(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(child.Failed, match=r"^exit code 1$"):
        child.follow([{"stream": "Successfully built 0123456789ab\n"}, {"stream": "half"}, {"error": "exit code 1"}])
    assert [json.loads(line)["line"] for line in capsys.readouterr().out.splitlines()][1:] == ["half"]
    pieces = [{"stream": "Success"}, {"stream": "fully built 0123456789ab"}]
    assert child.follow(pieces) == "0123456789ab"


def nothing(path: Path) -> None:
    path.unlink(missing_ok=True)


def left_behind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # docker's library closes by collection
@pytest.mark.parametrize(
    ("stands", "told"), [(nothing, "there is no container engine at {}"), (left_behind, "engine at {} does not run")]
)
def test_an_engine_that_has_gone_before_its_build_began_is_told_as_everywhere(
    stands: Callable[[Path], None], told: str, short: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stands(short / "s")
    (short / "order.json").write_text(json.dumps({"address": f"unix://{short / 's'}"}))
    assert child.main(str(short / "order.json")) == 1
    heard, connection = Heard(Lines(short / "log")), EngineConnection(str(short / "s"), {})
    for line in capsys.readouterr().out.splitlines():
        heard.line(line)
    failure = Builder(connection, "r", {}, "c", {})._failure(heard, "FROM x\n", 1, None)
    connection.close()
    assert told.format(short / "s") in failure.text
    gc.collect()
