"""Ray: the same captions as in this process. Skipped where Ray is not installed."""

import builtins
import os
from pathlib import Path

import pytest
from test_run import expected, label, written

from mvplm.label.dataset import Places, make_backend


def test_without_ray_it_is_told_how_to_get_it(records, monkeypatch):
    import_module = builtins.__import__

    def without(name, *rest, **more):
        if name.split(".")[0] == "ray":
            raise ImportError(name)
        return import_module(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match="mvplm\\[ray\\]"):
        make_backend(records, Places(ray=True))


def test_ray_gives_the_same_captions(tmp_path, records, monkeypatch):
    """Ray's processes usually step back behind all others; here they would wait for those who wait for them."""
    pytest.importorskip("ray.data", reason="Ray is not installed")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    here = Path(__file__).resolve()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(here.parents[2]), str(here.parent)]))
    backend = make_backend(records[:6], Places(ray=True))
    try:
        done = label(tmp_path, records[:6], "only_alone", backend=backend, batch_size=3, retries=1)
    finally:
        backend.close()
    assert done.complete and written(tmp_path) == expected(records[:6], "only_alone")
