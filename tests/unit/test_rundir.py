"""The Hub's private directory."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from traefikhub.traefik import TraefikUnusable
from traefikhub.traefik.rundir import RunDir, write_private

SETTING = "c.TraefikProxy.run_dir"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def used(path: Path) -> Iterator[RunDir]:
    run_dir = RunDir(path)
    run_dir.acquire()
    try:
        yield run_dir
    finally:
        run_dir.unlock()


def test_it_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    with used(tmp_path / "deep" / "run"):
        assert mode(tmp_path / "deep" / "run") == 0o700


def test_one_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    with used(tmp_path):
        assert mode(tmp_path) == 0o750


def test_one_that_everybody_may_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    with pytest.raises(TraefikUnusable, match=r"everybody.*c\.TraefikProxy\.run_dir"):
        RunDir(tmp_path).acquire()
    assert list(tmp_path.iterdir()) == []
    assert mode(tmp_path) == 0o1777


def test_one_with_nothing_for_others_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "routes.toml").touch(0o600)
    (tmp_path / "logs").mkdir(0o700)
    for before in (0o755, 0o750, 0o770):
        tmp_path.chmod(before)
        with used(tmp_path) as run_dir:
            assert run_dir.close_to_others() == ""
            assert mode(tmp_path) == 0o700


@pytest.mark.parametrize(
    ("before", "can"), [(0o755, "read page.html"), (0o770, "replace the files")]
)
def test_one_with_something_for_others_is_told_of(tmp_path: Path, before: int, can: str) -> None:
    (tmp_path / "page.html").write_text("")
    (tmp_path / "page.html").chmod(0o640)
    tmp_path.chmod(before)
    with used(tmp_path) as run_dir:
        told = run_dir.close_to_others()
    assert f"mode {before:04o}: others can {can} in it" in told
    assert told.endswith(f"chmod 700 {tmp_path}, or choose another directory ({SETTING})")
    assert mode(tmp_path) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_one_of_another_user_is_told_of(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    os.chown(tmp_path, 65534, -1)
    with used(tmp_path) as run_dir:
        told = run_dir.close_to_others()
    assert "belongs to the user 65534, who can replace all that is in it" in told
    assert SETTING in told


def test_a_lock_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    """Root would empty the file that whoever can write here has chosen."""
    (tmp_path / "precious").write_text("precious")
    run_dir = tmp_path / "run"
    run_dir.mkdir(0o700)
    (run_dir / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(TraefikUnusable, match=r"lock is a link; remove it"):
        RunDir(run_dir).acquire()
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_disk_without_room_is_told_and_leaves_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(TraefikUnusable, match="No space left on device"):
            RunDir(tmp_path).acquire()
    assert list(tmp_path.iterdir()) == []
    with used(tmp_path):
        pass


def test_a_second_hub_is_refused_naming_the_process(tmp_path: Path) -> None:
    with used(tmp_path):
        with pytest.raises(TraefikUnusable) as caught:
            RunDir(tmp_path).acquire()
        assert f"process {os.getpid()}" in str(caught.value)
        assert str(tmp_path) in str(caught.value)
        assert SETTING in str(caught.value)


def test_the_refusal_names_the_other_process_not_this_one(tmp_path: Path) -> None:
    code = (
        "import sys; from traefikhub.traefik.rundir import RunDir\n"
        "held = RunDir(sys.argv[1]); held.acquire(); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(TraefikUnusable, match=f"process {other.pid}"):
            RunDir(tmp_path).acquire()
    with used(tmp_path):  # it ended without unlocking, as a killed Hub does
        pass


def test_an_unlocked_one_can_be_used_again_and_keeps_no_lock_file(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    run_dir.acquire()
    run_dir.unlock()
    run_dir.unlock()
    assert list(tmp_path.iterdir()) == []
    with used(tmp_path):
        pass


def test_a_lock_file_removed_by_hand_is_no_trouble(tmp_path: Path) -> None:
    with used(tmp_path):
        (tmp_path / "lock").unlink()


def test_a_secret_is_made_once_and_kept_private(tmp_path: Path) -> None:
    old_mask = os.umask(0)
    try:
        with used(tmp_path) as run_dir:
            made = run_dir.secret("api-password")
            assert len(bytes.fromhex(made)) == 32
            assert run_dir.secret("api-password") == made
            assert run_dir.secret("another") != made
            assert mode(tmp_path / "api-password") == 0o600
        with used(tmp_path) as run_dir:
            assert run_dir.secret("api-password") == made
    finally:
        os.umask(old_mask)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o602])
def test_a_secret_that_others_could_read_or_write_is_made_anew(tmp_path: Path, mode: int) -> None:
    run_dir = RunDir(tmp_path)
    kept = tmp_path / "api-password"
    kept.write_text("restored\n")
    kept.chmod(0o600)
    assert run_dir.secret("api-password") == "restored"
    kept.chmod(mode)
    made = run_dir.secret("api-password")
    assert made != "restored"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert run_dir.secret("api-password") == made


def test_an_empty_secret_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "api-password").write_text("\n")
    with used(tmp_path) as run_dir:
        assert len(run_dir.secret("api-password")) == 64


def test_a_place_that_cannot_be_used_is_named_with_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(TraefikUnusable) as caught:
            RunDir(path).acquire()
        assert str(path) in str(caught.value)
        assert SETTING in str(caught.value)


def test_a_private_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    file = tmp_path / "traefik.toml"
    file.write_text("old")
    file.chmod(0o644)
    write_private(file, "new")
    assert file.read_text() == "new"
    assert mode(file) == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_a_private_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "directory", tmp_path / "file" / "below", tmp_path / "absent" / "x"):
        with pytest.raises(TraefikUnusable) as caught:
            write_private(path, "text")
        assert str(path) in str(caught.value)
        assert SETTING in str(caught.value)
    assert {file.name for file in tmp_path.iterdir()} == {"directory", "file"}
