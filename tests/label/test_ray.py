"""Ray: the same captions as in this process; with a stand-in that runs here, and with Ray itself when asked for."""

import builtins
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from test_run import expected, label, written

from mvplm.label.dataset import Places, make_backend


class FakeRay(SimpleNamespace):
    """The few functions of Ray that are used, in this process."""

    def __init__(self) -> None:
        context = SimpleNamespace(enable_progress_bars=True)
        data = SimpleNamespace(
            DataContext=SimpleNamespace(get_current=lambda: context),
            ActorPoolStrategy=lambda size: size,
            from_items=self.from_items,
        )
        self.calls: list[tuple] = []
        super().__init__(data=data, exceptions=SimpleNamespace(RayError=RuntimeError), put=lambda x: x, get=lambda x: x)

    def is_initialized(self) -> bool:
        return False

    def init(self, **options) -> None:
        if options["address"] == "nowhere":
            raise ConnectionError("refused")
        self.calls.append(("init", options["address"]))

    def shutdown(self) -> None:
        self.calls.append(("shutdown", None))

    def from_items(self, items, override_num_blocks):
        self.places, self.blocks = np.array([item["place"] for item in items]), override_num_blocks
        return self

    def map_batches(self, kind, *, fn_constructor_kwargs, batch_size, batch_format, compute, num_gpus):
        self.calls.append(("map", (self.blocks, batch_size, compute, num_gpus, fn_constructor_kwargs["device"])))
        self.actor = kind(**fn_constructor_kwargs)
        return self

    def iter_batches(self, batch_size, batch_format):
        for places in np.array_split(self.places, self.blocks):
            yield self.actor({"place": places})


@pytest.fixture
def fake(monkeypatch):
    ray = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.data", ray.data)
    return ray


def test_blocks_actors_and_results(tmp_path, records, fake):
    backend = make_backend(records[:7], Places(ray=True, workers=2, gpus=0.5, address="auto"))
    done = label(tmp_path, records[:7], "only_alone", "Unloadable", backend=backend, batch_size=3, retries=1)
    backend.close()
    assert written(tmp_path) == expected(records[:7], "only_alone") and set(done.set_aside) == {"Unloadable"}
    maps = [(3, 3, 2, 0.5, "cuda"), (7, 1, 2, 0.5, "cuda"), (3, 3, 2, 0.5, "cuda")]
    assert fake.calls == [("init", "auto"), *(("map", given) for given in maps), ("shutdown", None)]


def test_what_the_cluster_cannot_do_is_told(tmp_path, records, fake, monkeypatch):
    with pytest.raises(ValueError, match="no Ray cluster at 'nowhere'"):
        make_backend(records, Places(ray=True, address="nowhere"))
    backend = make_backend(records[:3], Places(ray=True))
    monkeypatch.setattr(fake, "get", lambda _: (_ for _ in ()).throw(RuntimeError("died:\nNo module named 'mvplm'\n")))
    with pytest.raises(ValueError, match="Ray cannot go on: No module named 'mvplm'"):
        label(tmp_path, records[:3], "corner", backend=backend)


def test_without_ray_it_is_told_how_to_get_it(records, monkeypatch):
    import_module = builtins.__import__

    def without(name, *rest, **more):
        if name.split(".")[0] == "ray":
            raise ImportError(name)
        return import_module(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match="mvplm\\[ray\\]"):
        make_backend(records, Places(ray=True))


@pytest.mark.skipif("MVPLM_TEST_RAY" not in os.environ, reason="starting Ray takes a while: MVPLM_TEST_RAY=1 does it")
def test_ray_itself_gives_the_same_captions(tmp_path, records, monkeypatch):
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
