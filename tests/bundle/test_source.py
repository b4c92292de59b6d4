"""Source bundles: both shapes, the environment inputs, and git at work."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from trees import full, on_disk, put_tree, remove, write, write_all

from kaosd.bundle import Scanner, StoredInputs, environment_digest, environment_inputs, lookup, model_tree
from kaosd.declared import Choice
from kaosd.errors import BundleError

BUNDLE = {b"Dockerfile": b"FROM x", b"model/requirements.txt": b"numpy\n", b"model/train.py": b"1"}


@pytest.fixture
def source(root: Path, store) -> Scanner:
    return Scanner(root, store, kind="source")


def test_both_shapes_give_the_same_version(source, root):
    write_all(root, BUNDLE)
    itself = source.scan()
    assert itself.base == root
    for path, content in BUNDLE.items():
        remove(root, path.partition(b"/")[0])
        write(root, b"example/" + path, content)
    write(root, b"README.md", b"not part of the bundle")
    inside = source.scan([b"model", b"example"])
    assert inside.base == root / "example"
    assert (inside.tree, inside.files) == (itself.tree, 3)
    assert inside.version == itself.version


def test_paths_outside_the_sub_directory_cost_and_change_nothing(source, root):
    write_all(root, {b"example/" + path: content for path, content in BUNDLE.items()})
    before = source.scan()
    write(root, b"README.md", b"1")
    assert source.scan([b"README.md", b""]).version == before.version
    write(root, b"example/model/train.py", b"2")
    after = source.scan([b"example/model/train.py"])
    assert after.version != before.version


def test_a_bundle_without_a_dockerfile_is_one(source, root):
    write(root, b"model/requirements.txt", b"")
    assert source.scan().problem is None


@pytest.mark.parametrize(
    ("files", "base", "root_holds"),
    [
        ({}, b"", []),
        ({b"a/x": b"", b"b/x": b""}, b"", [b"a", b"b"]),
        ({b"a.py": b"", b"requirements.txt": b""}, b"", [b"a.py", b"requirements.txt"]),
        ({b"model/train.py": b""}, b"", [b"model"]),
        ({b"model/train.py": b"", b"model/requirements.txt": b""}, b"", [b"requirements.txt", b"train.py"]),
        ({b"requirements.txt": b"", b"model/requirements.txt": b""}, b"", [b"requirements.txt"]),
        ({b"one/model/requirements.txt": b""}, b"one", [b"requirements.txt"]),
        ({b"one/model/requirements.txt": b"", b"setup.py": b""}, b"", [b"one", b"setup.py"]),
        ({b"one/model/requirements.txt": b"", b"binder/apt.txt": b""}, b"", [b"binder", b"one"]),
        ({b"one/model/requirements.txt": b"", b".binder/x": b""}, b"", [b".binder", b"one"]),
        ({b"one/model/requirements.txt": b"", b"two/model/requirements.txt": b""}, b"", [b"one", b"two"]),
        ({b"model": ("l", b"src"), b"src/requirements.txt": b""}, b"", [b"requirements.txt"]),
        ({b"now": ("l", b"of/2"), b"of/2/model/requirements.txt": b""}, b"of/2", [b"requirements.txt"]),
        ({b"now": ("l", b"one"), b"one/model/requirements.txt": b""}, b"one", [b"requirements.txt"]),
    ],
)  # fmt: skip
def test_what_becomes_the_notebooks_root(source, store, root, files, base, root_holds):
    write_all(root, full(files))
    scan = source.scan()
    assert scan.problem is None
    assert scan.base == (root / os.fsdecode(base) if base else root)
    assert [entry.name for entry in store.node(model_tree(store, scan.tree))] == root_holds


def test_a_link_to_the_source_directory_is_as_good(tmp_path, root, store):
    write_all(root, {b"requirements.txt": b"", b"a.py": b""})
    (tmp_path / "link").symlink_to(root)
    scan = Scanner(tmp_path / "link", store, kind="source").scan()
    assert (scan.problem, scan.files) == (None, 2)


def test_a_link_that_leads_elsewhere_becomes_the_base(source, root):
    write_all(root, full({b"now": ("l", b"of/2"), **{b"of/%d/model/requirements.txt" % n: b"" for n in (2, 3)}}))
    assert source.scan().base == root / "of/2"
    (root / "now").unlink()
    (root / "now").symlink_to("of/3")
    assert source.scan([b"now"]).base == root / "of/2"  # it is one still, and was deployed
    remove(root, b"of/2")
    assert source.scan([b"of"]).base == root / "of/3"


def test_the_home_directory_is_not_a_source(source, root, monkeypatch):
    write_all(root, {b"a/b": b""})
    monkeypatch.setenv("HOME", str(root))
    assert "is your home directory (name the directory of a repository in it)" in source.scan().problem
    write(root, b"requirements.txt", b"")
    assert source.scan().problem is None


def test_ignored_directories_are_no_candidates(source, root):
    write_all(root, {b"one/model/requirements.txt": b"", b"two/model/requirements.txt": b"", b".kaosignore": b"two/\n"})
    assert source.scan().base == root / "one"


def test_a_bundle_that_lost_its_requirements_does_not_become_another_notebook(source, root, store):
    write_all(root, BUNDLE)
    before = source.scan()
    remove(root, b"model/requirements.txt")
    gone = source.scan([b"model/requirements.txt"])
    assert (gone.version, gone.files) == (None, 3)
    assert "is gone, by which model/ is the notebook's root (put it back" in gone.problem
    assert Scanner(root, store, kind="source").scan().problem == gone.problem  # nor after a restart
    write(root, b"model/requirements.txt", b"numpy\n")
    assert source.scan([]).version == before.version
    remove(root, b"model/requirements.txt")
    write(root, b"requirements.txt", b"numpy\n")
    assert source.scan([b"model/requirements.txt", b"requirements.txt"]).problem is None


def test_links_that_leave_model_are_refused_since_only_model_is_deployed(source, root):
    write_all(root, {**BUNDLE, b"model/l": ("l", b"../Dockerfile"), b"l": ("l", b"model/train.py")})
    scan = source.scan()
    assert [path for path, _ in scan.refused] == [b"model/l"]


def test_environment_inputs_are_the_environment_file_and_what_images_are_made_of(store):
    files = {
        **BUNDLE, b".dockerignore": b"", b"model/requirements-dev.txt": b"pytest", b"model/environment.yml": b"",
        b"model/pyproject.toml": b"", b"model/uv.lock": b"", b"model/apt.txt": b"", b"model/runtime.txt": b"",
        b"requirements.txt": b"", b"model/sub/requirements.txt": b"", b"model/notes.txt": b"", b"model/a.ipynb": b"",
    }  # fmt: skip
    tree = put_tree(store, files)
    of_an_image = [path for path, _ in environment_inputs(store, tree, image=True)]
    assert of_an_image == [
        b".dockerignore", b"Dockerfile", b"model/apt.txt", b"model/environment.yml", b"model/pyproject.toml",
        b"model/requirements-dev.txt", b"model/requirements.txt", b"model/runtime.txt", b"model/uv.lock",
    ]  # fmt: skip
    assert [path for path, _ in environment_inputs(store, tree)] == [b"model/requirements.txt"]
    read = {b"model/runtime.txt": b"3.11", b"model/pyproject.toml": b"[tool.uv]\nno-index = true\n"}
    assert [path for path, _ in environment_inputs(store, put_tree(store, {**files, **read}))] == [
        b"model/pyproject.toml", b"model/requirements.txt", b"model/runtime.txt",
    ]  # fmt: skip


def inputs_of(store, files, **more):
    return StoredInputs(store, put_tree(store, files), **more)


def test_the_environment_follows_what_its_file_refers_to(store):
    files = {b"requirements.txt": b"-r req/a.txt\n--find-links wheels\n", b"req/a.txt": b"-c b.txt\n",
             b"req/b.txt": b"", b"wheels/x-1-py3-none-any.whl": b"", b"a.py": b""}  # fmt: skip
    first = inputs_of(store, files)
    assert [path for path, _ in first.files] == [
        b"req/a.txt", b"req/b.txt", b"requirements.txt", b"wheels/x-1-py3-none-any.whl",
    ]  # fmt: skip
    assert inputs_of(store, {**files, b"a.py": b"2", b"other.txt": b""}).digest == first.digest
    for path in (b"req/b.txt", b"wheels/x-1-py3-none-any.whl", b"wheels/y-1-py3-none-any.whl"):
        assert inputs_of(store, {**files, path: b"x"}).digest != first.digest, path


PROJECT = {b"requirements.txt": b"-e .\n", b"pyproject.toml": b"[project]\nname='p'\n[build-system]\nrequires=[]\n",
           b"src/p/__init__.py": b"A = 1", b"big.bin": b"\0" * (2**20 + 1), b"a.ipynb": b"{}"}  # fmt: skip


def test_the_code_of_a_local_project_is_no_input_but_its_build_gets_it(store, tmp_path):
    first = inputs_of(store, PROJECT, work=tmp_path / "w")
    assert inputs_of(store, {**PROJECT, b"src/p/__init__.py": b"A = 2"}, work=tmp_path / "w").digest == first.digest
    assert inputs_of(store, {**PROJECT, b"src/q/__init__.py": b""}, work=tmp_path / "w").digest != first.digest
    assert inputs_of(store, PROJECT, work=tmp_path / "another").digest != first.digest  # it belongs to one notebook
    first.export(tmp_path / "out")
    assert set(on_disk(tmp_path / "out")) == {
        b"requirements.txt", b"pyproject.toml", b"src", b"src/p", b"src/p/__init__.py", b"a.ipynb",
    }  # fmt: skip


def test_a_project_that_compiles_is_an_input_as_a_whole(store, tmp_path):
    files = {**PROJECT, b"setup.py": b"setup(ext_modules=[Extension('p.c', ['c.c'])])", b"c.c": b"1"}
    first = inputs_of(store, files, work=tmp_path / "w")
    assert inputs_of(store, files, work=tmp_path / "another").digest == first.digest
    assert inputs_of(store, {**files, b"c.c": b"2"}, work=tmp_path / "w").digest != first.digest


def test_an_environment_without_local_projects_is_shared(store, tmp_path):
    assert inputs_of(store, BUNDLE, work=tmp_path / "w").digest == inputs_of(store, BUNDLE).digest
    chosen = inputs_of(store, {**BUNDLE, b"model/other.txt": b""}, choice=Choice("model/other.txt"))
    assert chosen.declared.file == "model/other.txt"
    assert chosen.digest != inputs_of(store, {**BUNDLE, b"model/other.txt": b""}).digest


def test_globs_add_environment_inputs(store):
    tree = put_tree(store, {**BUNDLE, b"model/cfg/a.cfg": b"", b"model/cfg/b.txt": b""})
    assert b"model/cfg/a.cfg" in dict(environment_inputs(store, tree, ("*.cfg",)))
    assert b"model/cfg/b.txt" in dict(environment_inputs(store, tree, ("/model/cfg/*.txt",)))
    with pytest.raises(BundleError, match="environment_inputs: "):
        environment_inputs(store, tree, ("!",))


def test_the_environment_follows_its_inputs_and_not_the_code(store):
    def digest(files, image=False):
        return environment_digest(environment_inputs(store, put_tree(store, files), image=image))

    assert digest({**BUNDLE, b"model/train.py": b"2"}) == digest(BUNDLE)
    requirements = [
        {**BUNDLE, b"model/requirements.txt": b"scipy\n"},
        {**BUNDLE, b"model/requirements.txt": b"-r requirements-x.txt\n", b"model/requirements-x.txt": b"scipy\n"},
    ]
    of_images = [
        {**BUNDLE, b"model/requirements-x.txt": b"scipy\n"},
        {**BUNDLE, b"Dockerfile": ("x", b"FROM x")},
        {b"model/requirements.txt": b"numpy\n"},
        {**BUNDLE, b".dockerignore": b"*.csv\n"},
        {**BUNDLE, b"model/apt.txt": b"curl\n"},
    ]
    assert len({digest(files) for files in (BUNDLE, *requirements)}) == 3
    assert {digest(files) for files in of_images} == {digest(BUNDLE)}
    assert len({digest(files, image=True) for files in (BUNDLE, *requirements, *of_images)}) == 8


def test_without_a_dockerfile_an_image_is_made_of_what_the_steps_read_alone(store):
    files = {b"requirements.txt": b"six", b"apt.txt": b"git", b"postBuild": b"x", b"start": b"x", b".dockerignore": b"",
             b"environment.yml": b"", b"uv.lock": b"", b"requirements-dev.txt": b"", b"a.py": b""}  # fmt: skip
    inputs = environment_inputs(store, put_tree(store, files), image=True)
    assert [path for path, _ in inputs] == [b".dockerignore", b"apt.txt", b"postBuild", b"requirements.txt", b"start"]
    assert [path for path, _ in environment_inputs(store, put_tree(store, files))] == [b"requirements.txt"]
    digests = {
        name: StoredInputs(store, put_tree(store, {**files, name: b"other"}), whole=True).digest
        for name in (b"requirements.txt", b"apt.txt", b"postBuild", b"start", b"environment.yml", b"a.py")
    }
    same = StoredInputs(store, put_tree(store, files), whole=True).digest
    assert {name for name, digest in digests.items() if digest == same} == {b"environment.yml", b"a.py"}


def test_a_linked_input_counts_with_the_content_it_leads_to(store):
    linked = {b"model/requirements.txt": ("l", b"req/../req/main.txt"), b"model/req": ("l", b"./real"),
              b"model/real/main.txt": b"numpy\n"}  # fmt: skip
    ((path, entry),) = environment_inputs(store, put_tree(store, linked))
    assert (path, entry.kind, store.get(entry.digest)) == (b"model/requirements.txt", "f", b"numpy\n")
    for target in (b"nowhere", b"requirements.txt", b"real"):
        files = {**linked, b"model/requirements.txt": ("l", target)}
        assert environment_inputs(store, put_tree(store, files)) == ()


def test_the_model_tree_is_what_becomes_the_notebooks_root(store):
    tree = put_tree(store, BUNDLE)
    assert model_tree(store, tree) == put_tree(store, {b"requirements.txt": b"numpy\n", b"train.py": b"1"})
    top = put_tree(store, {b"model": b"a file"})
    assert model_tree(store, top) == top
    assert model_tree(store, None) is None


def test_inputs_are_exported_as_they_lie_in_the_bundle(store, tmp_path):
    tree = put_tree(store, BUNDLE)
    inputs = StoredInputs(store, tree)
    for _ in range(2):
        inputs.export(tmp_path / "out")
    assert on_disk(tmp_path / "out") == full({b"model/requirements.txt": BUNDLE[b"model/requirements.txt"]})
    whole = StoredInputs(store, tree, whole=True)
    whole.export(tmp_path / "whole")
    assert on_disk(tmp_path / "whole") == full(BUNDLE)
    owned = StoredInputs(store, tree, whole=True, owner="ada")
    assert owned.digest not in (inputs.digest, StoredInputs(store, tree, whole=True, owner="bob").digest)
    assert owned.digest == StoredInputs(store, tree, whole=True, owner="ada").digest
    assert (
        owned.digest
        == StoredInputs(store, put_tree(store, {**BUNDLE, b"model/new.py": b""}), whole=True, owner="ada").digest
    )
    changed = put_tree(store, {**BUNDLE, b"model/requirements.txt": b"six\n"})
    assert owned.digest != StoredInputs(store, changed, whole=True, owner="ada").digest
    assert inputs.digest == environment_digest(environment_inputs(store, tree))
    assert whole.digest == environment_digest(environment_inputs(store, tree, image=True), image=True)


def test_git_in_the_middle_of_something_is_told(source, root):
    write_all(root, {b"example/" + path: content for path, content in BUNDLE.items()})
    assert source.scan().git_busy is False
    subprocess.run(["git", "init", "-q", root], check=True)
    assert source.scan([]).git_busy is False
    for name in ("index.lock", "MERGE_HEAD", "rebase-merge", "rebase-apply"):
        (root / ".git" / name).mkdir()
        assert source.scan([]).git_busy is True
        (root / ".git" / name).rmdir()


def test_git_above_the_source_is_looked_at_as_well(root, store):
    write_all(root, {b"deep/er/" + path: content for path, content in BUNDLE.items()})
    subprocess.run(["git", "init", "-q", root], check=True)
    scanner = Scanner(root / "deep" / "er", store, kind="source")
    assert scanner.scan().git_busy is False
    (root / ".git" / "index.lock").touch()
    assert scanner.scan([]).git_busy is True


def test_a_dirty_path_in_a_source_gives_the_same_as_a_full_look(source, store, root):
    write_all(root, BUNDLE)
    source.scan()
    write(root, b"model/new/deep.py", b"1")
    tree = source.scan([b"model/new"]).tree
    assert tree == source.scan().tree
    assert lookup(store, tree, b"model/new/deep.py") is not None
    assert os.path.isdir(root / "model")
