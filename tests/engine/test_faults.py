"""What goes wrong around a run: a full disk, a kill in the middle of a checkpoint."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from engine.toy import make_model
from oracles.launching import environment

from mvplm.cli.guard import guarded
from mvplm.engine import CheckpointStore, open_checkpoint
from mvplm.engine import checkpoint as checkpoint_module
from mvplm.engine.weights import unique_state


def save(store: CheckpointStore, step: int, **options) -> None:
    store.save(step, tensors={"model": unique_state(make_model(step))}, state={}, **options)


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("where", ["save_file", "_flush", "extras"])
def test_a_full_disk_leaves_the_old_checkpoint_and_nothing_half_written(tmp_path, monkeypatch, where):
    store = CheckpointStore(tmp_path, keep=2)
    save(store, 1)
    if where != "extras":
        monkeypatch.setattr(checkpoint_module, where, full)
    with pytest.raises(
        OSError, match=r"step_000002 cannot be written \(No space left.*newest complete one is .*000001"
    ) as e:
        save(store, 2, extras=full if where == "extras" else None)
    assert e.value.errno == errno.ENOSPC
    assert [path.name for path in tmp_path.iterdir()] == ["step_000001"]
    monkeypatch.undo()
    save(store, 2)
    assert store.steps() == [1, 2] and open_checkpoint(tmp_path).step == 2


def test_the_first_checkpoint_on_a_full_disk_says_that_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_module, "save_file", full)
    with pytest.raises(OSError, match="no checkpoint was written before"):
        save(CheckpointStore(tmp_path / "deep" / "er"), 5)


def test_the_command_line_tells_it_in_one_message(capsys):
    import typer

    with pytest.raises(typer.Exit) as ended:
        guarded(full, debug=False)()
    assert ended.value.exit_code == 2 and "No space left" in capsys.readouterr().err


KILLED = """
import os, signal, sys, torch
from pathlib import Path
from engine.run_toy import run
from mvplm.engine import CheckpointStore, checkpoint
torch.set_num_threads(1)
write, count = checkpoint.save_file, 0
def save_file(tensors, path):
    global count
    count += 1
    if count == 5:  # the second file of the second checkpoint: half of it, then the end
        Path(path).write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    write(tensors, path)
checkpoint.save_file = save_file
run(Path(sys.argv[1]), steps=12)
"""


def test_a_kill_during_a_checkpoint_costs_only_that_checkpoint(tmp_path: Path):
    from engine.run_toy import run

    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=200)
    assert done.returncode == -signal.SIGKILL, done.stderr
    folder = tmp_path / "checkpoints"
    assert any(path.name.startswith(".writing_step_000010") for path in folder.iterdir())
    assert CheckpointStore(folder).steps() == [5]
    assert run(tmp_path, steps=12).step == 12
    assert sorted(path.name for path in folder.iterdir()) == ["step_000010", "step_000012"]
