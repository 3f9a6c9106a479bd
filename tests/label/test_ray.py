"""Ray: the same captions as in this process. Skipped where Ray is not installed."""

import builtins

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


def test_ray_gives_the_same_captions(tmp_path, records):
    pytest.importorskip("ray.data", reason="Ray is not installed")
    backend = make_backend(records[:6], Places(ray=True))
    try:
        done = label(tmp_path, records[:6], "broken", "corner", backend=backend, batch_size=3, retries=0)
    finally:
        backend.close()
    assert written(tmp_path) == expected(records[:6], "corner")
    assert len(done.failures) == 6 and "no answer" in done.failures[0].error
