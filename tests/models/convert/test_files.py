"""Reading checkpoints: every kind of file, and nothing that is not a tensor."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mvplm.models.convert.files import read_checkpoint, read_file

TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "b.bias": torch.ones(2, dtype=torch.float16)}


class Mischief:
    """Would run a command when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return Path.touch, (self.target,)


def same(found: dict[str, torch.Tensor]) -> bool:
    return found.keys() == TENSORS.keys() and all(torch.equal(found[name], t) for name, t in TENSORS.items())


@pytest.mark.parametrize("wrapper", [None, "model", "state_dict"])
@pytest.mark.parametrize("suffix", [".pth", ".bin", ".pkl", ".safetensors"])
def test_every_suffix_and_wrapper(tmp_path: Path, suffix: str, wrapper: str | None) -> None:
    file = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(TENSORS, str(file))
    elif suffix == ".pkl":
        arrays = {name: tensor.numpy() for name, tensor in TENSORS.items()}
        file.write_bytes(pickle.dumps({wrapper: arrays, "__author__": "someone"} if wrapper else arrays))
    else:
        torch.save({wrapper: TENSORS, "iteration": 3} if wrapper else TENSORS, file)
    assert same(read_file(file))


def test_a_directory_in_one_file_or_in_shards(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "swin"}')
    save_file({"a.weight": TENSORS["a.weight"]}, str(tmp_path / "one.safetensors"))
    save_file({"b.bias": TENSORS["b.bias"]}, str(tmp_path / "two.safetensors"))
    index = {"weight_map": {"a.weight": "one.safetensors", "b.bias": "two.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    read = read_checkpoint(tmp_path)
    assert same(read.tensors) and read.config == {"model_type": "swin"} and len(read.files) == 2
    (tmp_path / "two.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"two\.safetensors"):
        read_checkpoint(tmp_path)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_checkpoint(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"looked for model\.safetensors, pytorch_model\.bin"):
        read_checkpoint(tmp_path)
    other = tmp_path / "weights.h5"
    other.touch()
    with pytest.raises(ValueError, match=r"weights\.h5: expected \.safetensors"):
        read_file(other)


@pytest.mark.parametrize("suffix", [".pkl", ".pth"])
def test_pickles_that_do_more_than_hold_arrays_are_refused_unrun(tmp_path: Path, suffix: str) -> None:
    target, file = tmp_path / "touched", tmp_path / f"evil{suffix}"
    content = {"model": {"a.weight": np.ones(2), "b": Mischief(target)}}
    if suffix == ".pkl":
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file)
    with pytest.raises(ValueError, match=rf"evil\{suffix}"):
        read_file(file)
    assert not target.exists()


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "numpy.load", "torch.storage._load_from_bytes"])
def test_only_builders_of_arrays_are_found(tmp_path: Path, name: str) -> None:
    module, function = name.rsplit(".", 1)
    file = tmp_path / "evil.pkl"
    file.write_bytes(f"c{module}\n{function}\n(S'x'\ntR.".encode())
    with pytest.raises(ValueError, match=rf"evil\.pkl is refused: it asks for {name}"):
        read_file(file)


@pytest.mark.parametrize("suffix", [".pkl", ".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights at all", bytes(range(256))])
def test_a_corrupted_file_is_named(tmp_path: Path, suffix: str, content: bytes) -> None:
    file = tmp_path / f"broken{suffix}"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"broken\{suffix}"):
        read_file(file)


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "empty.pkl"
    file.write_bytes(pickle.dumps({"lr": 0.1}))
    with pytest.raises(ValueError, match=r"no tensors by name; its keys are lr"):
        read_file(file)
    file.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(ValueError, match="holds a list"):
        read_file(file)
    (tmp_path / "config.json").write_text("[1]")
    save_file(TENSORS, str(tmp_path / "model.safetensors"))
    with pytest.raises(ValueError, match=r"config\.json must hold a JSON object"):
        read_checkpoint(tmp_path)
