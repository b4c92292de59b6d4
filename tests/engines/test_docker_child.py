"""What the process of a build tells of what the engine tells it. No engine."""

from __future__ import annotations

import json

import pytest

from kaosd.engines.docker import child
from kaosd.engines.docker.child import BuildOutput


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
