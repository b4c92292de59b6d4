"""Table: what uv really printed (0.13), the requirements file, and the sentence that a person gets."""

from __future__ import annotations

import pytest

from kaosd.engines.process.blame import blame

UNSATISFIABLE = "we can conclude that your requirements are unsatisfiable."
NO_SOLUTION = "error: No solution found when resolving dependencies\n  cause: "

CASES = {
    "package does not exist": (
        "numpy\n\nNo_such.Package\n",
        f"{NO_SOLUTION}Because no-such-package was not found in the package registry and you require no-such-package,"
        f" {UNSATISFIABLE}",
        (3, "model/requirements.txt:3: there is no package no-such-package"),
    ),
    "exact version does not exist": (
        "numpy\nrequests==99.0  # wishful\n",
        f"{NO_SOLUTION}Because there is no version of requests==99.0 and you require requests==99.0, {UNSATISFIABLE}",
        (2, "model/requirements.txt:2: no version satisfies requests==99.0"),
    ),
    "no version in the range": (
        "numpy>99\n",
        f"{NO_SOLUTION}Because only numpy<=2.5.5 is available and you require numpy>99, {UNSATISFIABLE}",
        (1, "model/requirements.txt:1: no version satisfies numpy>99: there is only numpy<=2.5.5"),
    ),
    "wrong operator, position in bytes after an accent": (
        "# a\n\nnumpy\n# héé\n\nscipy =1\n",
        "error: Couldn't parse requirement in `requirements.txt` at position 20\n"
        '  cause: no such comparison operator "=", must be one of ~= == != <= >= < > ===\n'
        "         scipy =1\n"
        "               ^^\n",
        (
            6,
            "model/requirements.txt:6: 'scipy =1' cannot be read: "
            'no such comparison operator "=", must be one of ~= == != <= >= < > ===',
        ),
    ),
    "not a requirement at all, with line and column": (
        "numpy\n!!!\n",
        "error: Unexpected '!', expected '-c', '-e', '-r' or the start of a requirement: requirements.txt:2:1\n",
        (2, "model/requirements.txt:2: Unexpected '!', expected '-c', '-e', '-r' or the start of a requirement"),
    ),
    "included file is not there": (
        "numpy\n-r other.txt\n",
        "error: Error parsing included file in `requirements.txt` at position 6\n"
        "  cause: failed to read from file `other.txt`: No such file or directory (os error 2)\n",
        (2, "model/requirements.txt:2: failed to read from file `other.txt`: No such file or directory (os error 2)"),
    ),
    "two lines contradict each other": (
        "numpy==1.26.4\npandas==2.2.3\nnumpy>=2\n",
        f"{NO_SOLUTION}Because you require numpy==1.26.4 and numpy>=2, {UNSATISFIABLE}",
        (3, "model/requirements.txt:3: numpy>=2 contradicts numpy==1.26.4 of line 1"),
    ),
    "a line contradicts what another one needs": (
        "scikit-learn==1.5.0\nscipy\nnumpy==1.17.0\n",
        f"{NO_SOLUTION}Because scikit-learn==1.5.0 depends on numpy>=1.19.5 and you require scikit-learn==1.5.0,"
        " we can conclude that you require numpy>=1.19.5.\n"
        f"         And because you require numpy==1.17.0, {UNSATISFIABLE}",
        (
            3,
            "model/requirements.txt:3: numpy==1.17.0 contradicts scikit-learn==1.5.0 of line 1 "
            "(scikit-learn==1.5.0 needs numpy>=1.19.5)",
        ),
    ),
    "a line contradicts what the host needs": (
        "tornado<6\n",
        f"{NO_SOLUTION}Because jupyterlab>=4.0.0 depends on tornado>=6.2.0 and you require tornado<6,"
        " we can conclude that your requirements and jupyterlab>=4.0.0 are incompatible.\n"
        f"         And because you require jupyterlab>=4, {UNSATISFIABLE}",
        (1, "model/requirements.txt:1: tornado<6 contradicts jupyterlab>=4, which the host itself needs"),
    ),
    "needs another Python": (
        "numpy==2.4.0\n",
        f"{NO_SOLUTION}Because the requested Python version (>=3.9) does not satisfy Python>=3.11 and numpy==2.4.0"
        " depends on Python>=3.11, we can conclude that numpy==2.4.0 cannot be used.\n"
        f"         And because you require numpy==2.4.0, {UNSATISFIABLE}\n\n"
        "hint: The `--python-version` value (>=3.9) includes Python versions that are not supported by your "
        "dependencies (e.g., numpy==2.4.0 only supports >=3.11). Consider using a higher `--python-version` value.\n",
        (1, "model/requirements.txt:1: numpy==2.4.0 needs Python >=3.11, and this environment has 3.9"),
    ),
    "no wheel for this Python": (
        "tensorflow==2.3.0\n",
        f"{NO_SOLUTION}Because tensorflow==2.3.0 has no wheels with a matching Python ABI tag (e.g., `cp311`) and you"
        f" require tensorflow==2.3.0, {UNSATISFIABLE}\n\n"
        "hint: You require CPython 3.11 (`cp311`), but we only found wheels for `tensorflow` (v2.3.0) with the "
        "following Python ABI tags: `cp35m`, `cp36m`, `cp37m`, `cp38`\n",
        (
            1,
            "model/requirements.txt:1: tensorflow==2.3.0 has no wheel for the Python of this environment, only "
            "for Python 3.5 to 3.8",
        ),
    ),
    "a path of conda's build machine": (
        "six\nnumpy @ file:///home/conda/feedstock_root/numpy_1/work\n",
        "error: Distribution not found at: file:///home/conda/feedstock_root/numpy_1/work\n",
        (
            2,
            "model/requirements.txt:2: numpy is asked for by a path of the machine where the file was made: "
            "file:///home/conda/feedstock_root/numpy_1/work",
        ),
    ),
    "network down": (
        "requests\n",
        "error: Request failed after 3 retries in 11.8s\n"
        "  cause: Failed to fetch: http://127.0.0.1:9/index/requests/\n"
        "  cause: error sending request for url (http://127.0.0.1:9/index/requests/)\n"
        "  cause: client error (Connect)\n"
        "  cause: tcp connect error\n"
        "  cause: Connection refused (os error 111)\n",
        (None, "127.0.0.1:9 cannot be reached: Connection refused (os error 111)"),
    ),
    "name server down, for an address in the file": (
        "six\nrequests @ https://example.invalid/requests-1.0-py3-none-any.whl\n",
        "error: Failed to download `requests @ https://example.invalid/requests-1.0-py3-none-any.whl`\n"
        "  cause: Request failed after 3 retries in 4.1s\n"
        "  cause: Failed to fetch: https://example.invalid/requests-1.0-py3-none-any.whl\n"
        "  cause: error sending request for url (https://example.invalid/requests-1.0-py3-none-any.whl)\n"
        "  cause: client error (Connect)\n"
        "  cause: dns error\n"
        "  cause: failed to lookup address information: Name or service not known\n",
        (
            2,
            "model/requirements.txt:2: example.invalid cannot be reached: "
            "failed to lookup address information: Name or service not known",
        ),
    ),
    "offline and not cached": (
        "no-such\n",
        f"{NO_SOLUTION}Because no-such was not found in the cache and you require no-such, {UNSATISFIABLE}\n\n"
        "hint: Packages were unavailable because the network was disabled. When the network is disabled, registry "
        "packages may only be read from the cache.\n",
        (None, "uv is set to work offline, and a package is not in its cache"),
    ),
    "source distribution does not build": (
        "numpy\nsklearn\n",
        "error: Failed to build `sklearn==0.0.post12`\n"
        "  cause: The build backend returned an error\n"
        "  cause: Call to `setuptools.build_meta:__legacy__.get_requires_for_build_wheel` failed (exit status: 1)\n\n"
        "         [stderr]\n"
        "         The 'sklearn' PyPI package is deprecated, use 'scikit-learn'\n"
        "         rather than 'sklearn' for pip commands. \n\n"
        "         More information is available at\n\n"
        "hint: `sklearn` is often confused for `scikit-learn`. Did you mean to install `scikit-learn` instead?\n\n"
        "hint: Build failures usually indicate a problem with the package or the build environment\n",
        (
            2,
            "model/requirements.txt:2: sklearn==0.0.post12 does not build: "
            "The 'sklearn' PyPI package is deprecated, use 'scikit-learn'",
        ),
    ),
    "source distribution fails with a traceback": (
        "tensorflow-gpu\n",
        "error: Failed to build `tensorflow-gpu==2.12.0`\n"
        "  cause: The build backend returned an error\n"
        "  cause: Call to `setuptools.build_meta:__legacy__.get_requires_for_build_wheel` failed (exit status: 1)\n\n"
        "         [stderr]\n"
        "         Traceback (most recent call last):\n"
        "             raise InvalidRequirement(str(e)) from e\n"
        "         packaging.requirements.InvalidRequirement: Expected semicolon\n"
        '             python_version>"3.7"\n'
        "                           ^\n",
        (
            1,
            "model/requirements.txt:1: tensorflow-gpu==2.12.0 does not build: "
            "packaging.requirements.InvalidRequirement: Expected semicolon",
        ),
    ),
    "local package does not build": (
        "numpy\n\n./bad\n",
        "error: The build backend returned an error\n"
        "  cause: Call to `setuptools.build_meta:__legacy__.get_requires_for_build_wheel` failed (exit status: 1)\n\n"
        "         [stderr]\n"
        "         boom: no compiler here\n",
        (3, "model/requirements.txt:3: ./bad does not build: boom: no compiler here"),
    ),
    "local package is not there": (
        "numpy\n-e ./pkg\n",
        "error: Distribution not found at: file:///build/model/pkg\n",
        (2, "model/requirements.txt:2: pkg is not among the environment inputs"),
    ),
    "wrong hash": (
        "numpy==1.26.4 --hash=sha256:777d\n",
        "error: Failed to download `numpy==1.26.4`\n"
        "  cause: Hash mismatch for `numpy==1.26.4`\n\n"
        "         Expected:\n           sha256:777d\n\n         Computed:\n           sha256:666d\n",
        (1, "model/requirements.txt:1: numpy==1.26.4 does not have the hash that is asked for"),
    ),
    "disk full": (
        "ipython\n",
        "error: Failed to install: ipython-9.18.1-py3-none-any.whl (ipython==9.18.1)\n"
        "  cause: Failed to copy to `/tmp/e/lib/python3.11/site-packages/IPython/testing/plugin/simple.py`\n"
        "  cause: failed to copy file from /c/simple.py to /tmp/e/.tmpKJFdzq: No space left on device (os error 28)\n",
        (None, "the disk is full"),
    ),
    "something new": (
        "numpy\n",
        "error: The moon is in the wrong phase\n  cause: Jupiter\n",
        (None, "uv failed: The moon is in the wrong phase: Jupiter"),
    ),
}


@pytest.mark.parametrize(("requirements", "output", "expected"), CASES.values(), ids=CASES)
def test_the_sentence_names_package_and_line(requirements: str, output: str, expected: tuple[int | None, str]) -> None:
    found = blame(output, {"requirements.txt": requirements})
    assert (found.line, str(found)) == expected


@pytest.mark.parametrize("case", ["network down", "offline and not cached", "disk full"])
def test_what_is_not_the_fault_of_the_requirements_is_transient(case: str) -> None:
    requirements, output, _ = CASES[case]
    assert blame(output, {"requirements.txt": requirements}).transient


def test_an_error_in_an_included_file_names_that_file() -> None:
    output = (
        "error: Error parsing included file in `requirements.txt` at position 0\n"
        "  cause: Couldn't parse requirement in `base.txt` at position 6\n"
        "  cause: Unexpected end of version specifier, expected version\n"
        "         numpy===\n"
        "              ^^^\n"
    )
    found = blame(output, {"requirements.txt": "-r base.txt\n", "base.txt": "scipy\nnumpy===\n"})
    assert str(found).startswith("model/base.txt:2: 'numpy===' cannot be read")


def test_credentials_of_an_index_are_not_repeated() -> None:
    output = (
        "error: Failed to fetch: https://ada:secret@index.example/index/six/\n"
        "  cause: HTTP status client error (403 Forbidden) for url (https://ada:secret@index.example/index/six/)\n"
    )
    assert "secret" not in str(blame(output, {"requirements.txt": "six\n"}))
