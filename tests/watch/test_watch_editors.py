"""How editors and tools save: the exact patterns replayed, and the real ones where they are installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from watching import eye

DROPPINGS = re.compile(
    rb"(.*/)?(\..*\.sw[a-z]|4913|.*~|\.#.*|#.*#|\.~.*|sed[A-Za-z0-9]{6}|tmp\w+|\.git|\.ipynb_checkpoints|.*\.\d{7})"
)


def ignored(path: bytes, is_directory: bool) -> bool:
    """Temporaries of the editors below; the real rules are the bundle's."""
    return any(DROPPINGS.fullmatch(part) for part in path.split(b"/"))


def vim_backup_by_rename(file: Path) -> None:
    swap, probe, backup = file.with_name(f".{file.name}.swp"), file.with_name("4913"), file.with_name(f"{file.name}~")
    swap.write_bytes(b"b0VIM")
    probe.touch()
    probe.unlink()
    file.rename(backup)
    file.write_text("saved")
    file.chmod(0o644)
    backup.unlink()
    swap.unlink()


def vim_in_place(file: Path) -> None:
    backup = file.with_name(f"{file.name}~")
    shutil.copy2(file, backup)
    file.write_text("saved")
    backup.unlink()


def vscode_in_place(file: Path) -> None:
    with file.open("r+") as opened:
        opened.truncate()
        opened.write("saved")


def vscode_by_rename(file: Path) -> None:
    new = file.with_name(f"{file.name}.1234567")
    new.write_text("saved")
    new.rename(file)


def jupyterlab(file: Path) -> None:
    aside = file.with_name(f".~{file.name}")
    shutil.copy2(file, aside)
    with file.open("w") as opened:
        opened.write("saved")
        opened.flush()
        os.fsync(opened.fileno())
    aside.unlink()
    checkpoints = file.with_name(".ipynb_checkpoints")
    checkpoints.mkdir(exist_ok=True)
    shutil.copy2(file, checkpoints / f"{file.stem}-checkpoint{file.suffix}")


def nano(file: Path) -> None:
    swap = file.with_name(f".{file.name}.swp")
    swap.write_bytes(b"b0nano")
    with file.open("r+") as opened:
        opened.truncate()
        opened.write("saved")
    swap.unlink()


def emacs(file: Path) -> None:
    lock, new = file.with_name(f".#{file.name}"), file.with_name("tmpAbCdEf")
    lock.symlink_to("someone@here.123:456")
    file.with_name(f"#{file.name}#").write_text("autosaved")
    shutil.copy2(file, file.with_name(f"{file.name}~"))
    new.write_text("saved")
    new.rename(file)
    file.with_name(f"#{file.name}#").unlink()
    lock.unlink()


def libreoffice(file: Path) -> None:
    lock = file.with_name(f".~lock.{file.name}#")
    lock.write_text("someone")
    file.unlink()
    file.write_text("saved")
    lock.unlink()


def git_pattern(file: Path) -> None:
    index = file.parent / ".git"
    index.mkdir(exist_ok=True)
    (index / "index.lock").write_text("lock")
    file.unlink()
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    os.write(descriptor, b"saved")
    os.close(descriptor)
    (index / "index.lock").rename(index / "index")


def sed_pattern(file: Path) -> None:
    new = file.with_name("sedAbCdEf")
    new.write_text("saved")
    new.chmod(0o644)
    new.rename(file)


def run(*command: str, cwd: Path | None = None) -> None:
    subprocess.run(command, cwd=cwd, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)


def real_sed(file: Path) -> None:
    run("sed", "-i", "s/before/saved/", str(file))


def real_vim(*settings: str) -> Callable[[Path], None]:
    def save(file: Path) -> None:
        sets = [argument for setting in settings for argument in ("-c", f"set {setting}")]
        run(VIM, "-u", "NONE", "-N", "-e", "-s", *sets, "-c", "%s/before/saved/", "-c", "wq", str(file))

    return save


VIM = shutil.which("vim") or shutil.which("vim.tiny") or ""
SAVES: dict[str, Callable[[Path], None]] = {
    save.__name__: save
    for save in (
        vim_backup_by_rename, vim_in_place, vscode_in_place, vscode_by_rename, jupyterlab, nano, emacs, libreoffice,
        git_pattern, sed_pattern, real_sed,
    )
}  # fmt: skip
if VIM:
    SAVES |= {
        f"real vim, {settings[0]}": real_vim(*settings)
        for settings in (("backupcopy=no", "writebackup"), ("backupcopy=yes", "writebackup"), ("nowritebackup",))
    }


@pytest.mark.parametrize("mode", ["auto", "poll"])
@pytest.mark.parametrize("name", SAVES)
async def test_each_way_to_save_tells_the_file_and_no_temporaries(tmp_path, name, mode):
    file = tmp_path / "model/analysis.py"
    file.parent.mkdir()
    file.write_text("before")
    async with eye(mode=mode) as seen:
        await seen.watch(tmp_path, ignored)
        SAVES[name](file)
        await seen.covered(b"model/analysis.py")
        assert file.read_text().startswith("saved")
        assert await seen.only(tmp_path) == {b"model/analysis.py"}


async def test_temporaries_alone_tell_nothing(tmp_path):
    async with eye() as seen:
        await seen.watch(tmp_path, ignored)
        for name in (".a.py.swp", ".a.py.swx", "4913", "a.py~", ".#a.py", "#a.py#", ".~a.py", "sedXyZ123"):
            (tmp_path / name).write_text("temporary")
            (tmp_path / name).unlink()
        assert await seen.only(tmp_path) == frozenset()


async def test_a_real_git_checkout_tells_all_that_it_changed(tmp_path):
    def git(*command: str) -> None:
        run("git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", *command, cwd=tmp_path)

    git("init", "-q", "-b", "main")
    (tmp_path / "kept.py").write_text("same")
    (tmp_path / "changed.py").write_text("main")
    (tmp_path / "only-main").mkdir()
    (tmp_path / "only-main/gone.py").write_text("main")
    git("add", ".")
    git("commit", "-q", "-m", "main")
    git("checkout", "-q", "-b", "other")
    git("rm", "-q", "-r", "only-main")
    (tmp_path / "changed.py").write_text("other branch")
    (tmp_path / "only-other/deep").mkdir(parents=True)
    for number in range(100):
        (tmp_path / f"only-other/deep/{number}.py").write_text("other")
    git("add", ".")
    git("commit", "-q", "-m", "other")
    git("checkout", "-q", "main")
    async with eye() as seen:
        await seen.watch(tmp_path, ignored)
        git("status")
        assert await seen.only(tmp_path) == frozenset()
        seen.forget()
        git("checkout", "-q", "other")
        files = [b"only-other/deep/%d.py" % number for number in range(100)]
        await seen.covered(b"changed.py", b"only-main/gone.py", *files)
        seen.forget()
        (tmp_path / "only-other/deep/7.py").write_text("edited")
        await seen.covered(b"only-other/deep/7.py")
