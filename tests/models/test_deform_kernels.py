"""The kernels of deformable attention against the reference, and how one is chosen."""

import itertools
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from mvplm.models.ops import backends, multi_scale_deformable_attention, threads
from mvplm.models.ops.deform_reference import reference_deformable_attention

SHAPES = [(5, 7), (3, 4), (1, 2)]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def fresh_choice(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No wish of the environment, and nothing remembered of earlier choices."""
    monkeypatch.delenv(backends.VARIABLE, raising=False)
    backends._fastest.cache_clear()
    backends._trouble.cache_clear()
    yield
    backends._fastest.cache_clear()
    backends._trouble.cache_clear()


def draw(
    shapes: list[tuple[int, int]] = SHAPES,
    *,
    batch: int = 2,
    queries: int = 9,
    heads: int = 2,
    dim: int = 4,
    points: int = 3,
    dtype: torch.dtype = torch.float32,
) -> list[torch.Tensor]:
    """Random value, locations (some outside) and weights that want gradients."""
    torch.manual_seed(0)
    cells = sum(height * width for height, width in shapes)
    value = torch.randn(batch, cells, heads, dim, dtype=dtype)
    locations = torch.rand(batch, queries, heads, len(shapes), points, 2) * 1.6 - 0.3
    weights = torch.rand(batch, queries, heads, len(shapes), points)
    return [x.requires_grad_() for x in (value, locations, weights)]


def attend(inputs: list[torch.Tensor], backend: str, shapes: list[tuple[int, int]] = SHAPES) -> torch.Tensor:
    value, locations, weights = inputs
    return multi_scale_deformable_attention(
        value, shapes, sampling_locations=locations, attention_weights=weights, backend=backend
    )


def check_against_reference(inputs: list[torch.Tensor], shapes: list[tuple[int, int]] = SHAPES) -> None:
    """Equal values and gradients."""
    ours, expected = attend(inputs, "numba", shapes), attend(inputs, "reference", shapes)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
    probe = torch.randn_like(expected)
    gradients = (torch.autograd.grad(result, inputs, probe) for result in (ours, expected))
    for mine, other in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dim", [1, 5, 32, 48])
def test_any_row_length(dim: int) -> None:
    check_against_reference(draw(dim=dim))


@pytest.mark.parametrize(
    ("shapes", "points"), [([(6, 3)], 4), ([(1, 1)], 1), ([(1, 9), (9, 1)], 2), ([(4, 4), (2, 2), (1, 1), (1, 2)], 4)]
)
def test_any_levels_and_points(shapes: list[tuple[int, int]], points: int) -> None:
    check_against_reference(draw(shapes, points=points, heads=3, dim=4), shapes)


def test_many_queries_in_several_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []

    def count(pieces: Iterable[Callable[[], object]]) -> None:
        pieces = list(pieces)
        counts.append(len(pieces))
        threads.run_pieces(pieces)

    monkeypatch.setattr("mvplm.models.ops.deform_numba.run_pieces", count)
    check_against_reference(draw(queries=700, heads=4))
    assert min(counts[-2:]) > 2


def test_the_caller_and_helpers_work_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    meet = threading.Barrier(2, timeout=20)
    names = []

    def piece() -> None:
        meet.wait()
        names.append(threading.current_thread().name)

    threads.run_pieces([piece, piece])
    assert threading.current_thread().name in names and any(name.startswith("mvplm-kernel") for name in names)


def test_one_thread_is_enough_when_torch_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(threads, "_pool", lambda *_: pytest.fail("a pool for one thread"))
    check_against_reference(draw(queries=700))


def test_an_error_in_a_piece_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    done = []
    for pieces in ([lambda: 1 / 0], [lambda: 1 / 0, lambda: done.append(1), lambda: done.append(2)]):
        with pytest.raises(ZeroDivisionError):
            threads.run_pieces(pieces)
    assert done == [1, 2]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_are_computed_in_float32(dtype: torch.dtype) -> None:
    inputs = [x.detach().to(dtype).requires_grad_() for x in draw(queries=20)]
    ours = attend(inputs, "numba")
    expected = attend([x.detach().float() for x in inputs], "reference")
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
    given = torch.autograd.grad(ours.sum(), inputs)
    assert [x.dtype for x in given] == [dtype] * 3


@pytest.mark.parametrize(("batch", "queries"), [(2, 0), (0, 3), (0, 0)])
def test_nothing_to_do(batch: int, queries: int) -> None:
    inputs = draw(batch=batch, queries=queries)
    result = attend(inputs, "numba")
    assert result.shape == (batch, queries, 8)
    gradients = torch.autograd.grad(result.sum(), inputs)
    assert [x.shape for x in gradients] == [x.shape for x in inputs]
    assert not gradients[0].any()


def test_strided_inputs() -> None:
    value, locations, weights = draw()
    strided = [
        value.detach().permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
        locations.detach().flip(1).flip(1).transpose(1, 2).contiguous().transpose(1, 2),
        weights.detach().repeat_interleave(2, dim=-1)[..., ::2],
    ]
    assert not any(x.is_contiguous() for x in strided)
    strided = [x.requires_grad_() for x in strided]
    torch.testing.assert_close(attend(strided, "numba"), attend([value, locations, weights], "numba"), rtol=0, atol=0)
    check_against_reference(strided)


@pytest.mark.parametrize("place", [-1e30, -7.0, 9.0, 1e30])
def test_points_far_outside_count_as_zero_and_have_no_gradient(place: float) -> None:
    inputs = draw()
    inputs[1].data.fill_(place)
    result = attend(inputs, "numba")
    assert not result.any()
    for gradient in torch.autograd.grad(result.sum(), inputs):
        assert not gradient.any() and gradient.isfinite().all()


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_a_place_that_is_no_number_reads_nothing_wild_and_shows(wrong: float) -> None:
    inputs = draw()
    inputs[1].data[0, 0].fill_(wrong)
    result = attend(inputs, "numba")
    assert result[0, 0].isnan().all() and result[0, 1:].isfinite().all() and result[1].isfinite().all()


def test_the_reference_has_right_gradients_in_double_precision() -> None:
    inputs = [x.detach().double().requires_grad_() for x in draw([(3, 2), (1, 2)], batch=1, queries=2, dim=2, points=1)]

    def run(value: torch.Tensor, locations: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return reference_deformable_attention(
            value, [(3, 2), (1, 2)], sampling_locations=locations, attention_weights=weights
        )

    assert torch.autograd.gradcheck(run, inputs)


def test_it_is_a_torch_operator() -> None:
    attend(draw(), "numba")
    flat = list(itertools.chain.from_iterable(SHAPES))
    value, locations, weights = draw()
    torch.library.opcheck(torch.ops.mvplm.deform_attn_numba, (value, flat, locations, weights))


def test_fake_tensors_have_its_shape_even_at_first_use() -> None:
    with FakeTensorMode():
        inputs = draw(queries=6)
        result = attend(inputs, "auto")
        (gradient,) = torch.autograd.grad(result.sum(), inputs[:1])
    assert result.shape == (2, 6, 8) and result.dtype == torch.float32
    assert gradient.shape == inputs[0].shape


def test_it_compiles_without_a_break() -> None:
    compiled = torch.compile(attend, backend="aot_eager", fullgraph=True)
    inputs = draw()
    ours, expected = compiled(inputs, "auto"), attend(inputs, "reference")
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
    gradients = (torch.autograd.grad(result.sum(), inputs) for result in (ours, expected))
    for mine, other in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


def test_the_kernel_works_in_inference_mode_from_the_start() -> None:
    with torch.inference_mode():
        assert attend(draw(), "auto").isfinite().all()


def test_the_first_call_may_be_one_that_is_computed_again() -> None:
    """What the choice of the kernel computes is none of a checkpoint's business."""
    from torch.utils.checkpoint import checkpoint

    inputs = draw()
    wanted = torch.autograd.grad(attend(inputs, "reference").sum(), inputs)
    found = torch.autograd.grad(checkpoint(attend, inputs, "auto", use_reentrant=False).sum(), inputs)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_cpu_takes_numba_and_says_why() -> None:
    assert backends.live_backend() == backends.LiveBackend("numba", "fastest for cpu, agrees with the reference")
    assert backends.live_backend(device="mps").name == "reference"


def test_the_environment_names_the_implementation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(backends.VARIABLE, "reference")
    assert backends.live_backend() == backends.LiveBackend("reference", "MVPLM_DEFORM_ATTN says so")
    assert backends.live_backend("numba").name == "numba"
    monkeypatch.setitem(backends.BACKENDS, "numba", lambda _: pytest.fail("numba was told to stay out"))
    attend(draw(), "auto")


def test_a_wrong_name_in_the_environment_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(backends.VARIABLE, "nunba")
    with pytest.raises(ValueError, match="in MVPLM_DEFORM_ATTN 'nunba'; did you mean 'numba'"):
        attend(draw(), "auto")


@pytest.mark.parametrize("factor", [1.01, float("nan")])
def test_a_kernel_that_disagrees_is_refused(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    right = backends.BACKENDS["numba"]
    monkeypatch.setitem(backends.BACKENDS, "numba", lambda inputs: right(inputs) * factor)
    with pytest.warns(RuntimeWarning, match="slow reference, numba cannot run on cpu: it differs from the reference"):
        assert backends.live_backend().name == "reference"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "differs" in backends.live_backend().reason
    with pytest.raises(RuntimeError, match="'numba' .asked for. cannot run on cpu: it differs from the reference by"):
        attend(draw(), "numba")


def test_a_missing_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mvplm.models.ops.deform_numba", None)
    with pytest.warns(RuntimeWarning, match="deform_numba"):
        assert backends.live_backend().name == "reference"


def in_a_process(code: str, **environment: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_models_does_not_load_the_compilers() -> None:
    compilers = "('numba', 'llvmlite', 'mvplm.models.ops.deform_triton')"
    code = f"import sys, mvplm.models.ops; print([name for name in {compilers} if name in sys.modules])"
    assert in_a_process(code).strip() == "[]"


TRITON = """
import torch
from mvplm.models.ops import backends, multi_scale_deformable_attention
assert backends.live_backend("triton", dim=3, levels=2, points=1).name == "triton"
torch.manual_seed(0)
for dtype in (torch.float32, torch.bfloat16):
    value = torch.randn(2, 14, 2, 3, dtype=dtype, requires_grad=True)
    places = (torch.rand(2, 3, 2, 2, 1, 2) * 1.6 - 0.3).requires_grad_()
    weights = torch.rand(2, 3, 2, 2, 1, requires_grad=True)
    found = []
    for backend in ("triton", "reference"):
        result = multi_scale_deformable_attention(
            value, [(3, 4), (1, 2)], sampling_locations=places, attention_weights=weights, backend=backend
        )
        assert result.dtype == torch.float32
        found.append([result, *torch.autograd.grad(result.square().sum(), (value, places, weights))])
    for ours, expected in zip(*found):
        torch.testing.assert_close(ours, expected, rtol=1e-4 if dtype == torch.float32 else 2e-2, atol=1e-4)
print("equal")
"""


def test_the_triton_kernel_step_by_step() -> None:
    pytest.importorskip("triton", reason="triton is not installed: it comes with torch for CUDA")
    assert in_a_process(TRITON, TRITON_INTERPRET="1").strip() == "equal"


def test_triton_wants_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton", reason="triton is not installed: it comes with torch for CUDA")
    with pytest.raises(
        RuntimeError, match="'triton' .asked for. cannot run on cpu: the triton backend needs tensors on a GPU"
    ):
        attend(draw(), "triton")


def test_without_a_place_for_compiled_code_it_warns_and_works(monkeypatch: pytest.MonkeyPatch) -> None:
    from numba.core.caching import CacheImpl

    from mvplm.models.ops import numba_kernels

    monkeypatch.setattr(CacheImpl, "_locator_classes", [])
    with pytest.warns(RuntimeWarning, match="NUMBA_CACHE_DIR names one"):
        double = numba_kernels._compiled(lambda x: 2 * x)
    assert double(3) == 6
