import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from mvplm import __version__
from mvplm.cli import main
from mvplm.cli.predict import summary
from mvplm.structures import Instances, PanopticMap, Perception, SegmentInfo

COMMANDS = (
    ["quickstart"],
    ["predict"],
    ["train"],
    ["evaluate"],
    ["analyse"],
    ["compare"],
    ["doctor"],
    ["data", "list"],
    ["data", "check"],
    ["data", "masks"],
    ["data", "scenes"],
    ["data", "show"],
    ["data", "export"],
    ["models", "list"],
    ["textmask", "ceiling"],
    ["textmask", "show"],
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_with_an_example(command: list[str], capsys: pytest.CaptureFixture[str]):
    assert main([*command, "--help"]) == 0
    assert f"Example: mvplm {' '.join(command)}" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mvplm {__version__}\n"


@pytest.mark.parametrize("arguments", [["nonsense"], ["train"], ["data", "check"], ["predict", "--nope"]])
def test_wrong_usage_ends_with_2(arguments: list[str]):
    assert main(arguments) == 2


def test_wrong_input_is_one_message_without_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "a.yaml"
    path.write_text("optim: {lr: fast}\nlos: 1")
    assert main(["train", "--config-file", str(path)]) == 2
    told = capsys.readouterr().err
    assert "optim.lr must be a number, got 'fast'" in told and "unknown key los" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("place", [0, 3])
def test_debug_lets_the_error_through(place: int, tmp_path: Path):
    arguments = ["train", "--config-file", str(tmp_path / "gone.yaml")]
    with pytest.raises(ValueError, match="no such config file"):
        main([*arguments[:place], "--debug", *arguments[place:]])


def test_debug_by_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MVPLM_DEBUG", "1")
    with pytest.raises(ValueError, match="no such config file"):
        main(["train", "--config-file", str(tmp_path / "gone.yaml")])


def test_ctrl_c_is_one_line_and_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mvplm.data.scenes.write_coco", interrupted)
    assert main(["data", "scenes", "--out", "anywhere"]) == 130
    assert capsys.readouterr().err == "Stopped by Ctrl-C.\n"


def test_a_defect_of_the_library_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("mvplm.data.scenes.write_coco", broken)
    with pytest.raises(RuntimeError, match="a defect"):
        main(["data", "scenes", "--out", "anywhere"])


def test_data_scenes_passes_everything_on(monkeypatch: pytest.MonkeyPatch):
    calls = []
    monkeypatch.setattr("mvplm.data.scenes.write_coco", lambda out, **rest: calls.append((out, rest)) or out)
    assert main(["data", "scenes", "--out", "d", "--num", "3", "--seed", "4", "--split", "train"]) == 0
    assert calls == [(Path("d"), {"num": 3, "seed": 4, "split": "train"})]


def test_data_check_fails_when_there_are_errors(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    from mvplm.data.problems import CheckReport

    report = CheckReport()
    report.warn("here", "odd")
    monkeypatch.setattr("mvplm.data.check.check_dataset", lambda name, **_: report)
    assert main(["data", "check", "x"]) == 0
    report.error("there", "broken")
    assert main(["data", "check", "x"]) == 1
    assert "error: there: broken" in capsys.readouterr().out


def test_data_list_says_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "coco_mini").mkdir()
    for folder in ("coco/val2017", "refcoco", "refer/grefcoco", "coco/train2017", "ReasonSeg/val"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("refcoco/refs(unc).p", "refer/grefcoco/grefs(unc).json", "refcoco/instances.json"):
        (tmp_path / file).touch()
    (tmp_path / "refer" / "grefcoco" / "instances.json").touch()
    assert main(["data", "list", "--root", str(tmp_path)]) == 0
    lines = {line.split(maxsplit=1)[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    assert lines["coco_mini/val"] == ["found"] and lines["scenes/val"] == lines["coco_folder"] == []
    assert lines["coco_2017_val"] == ["missing:", "coco/annotations/instances_val2017.json"]
    assert "missing: objects365/annotations/zhiyuan_objv2_val.json (or 8 other places)" in " ".join(
        lines["objects365_v2_val"]
    )
    assert lines["refcoco_unc_val"] == lines["grefcoco_unc_val"] == lines["reasonseg_val"] == ["found"]


def test_data_export_writes_a_folder_that_can_be_read(tmp_path: Path):
    out = str(tmp_path / "mine")
    assert main(["data", "export", "scenes/val", "num=2", "--out", out, "--split", "val", "--panoptic"]) == 0
    assert main(["data", "check", "coco_folder", "split=val", "--root", out]) == 0


def test_data_show_prints_records_and_tokens(capsys: pytest.CaptureFixture[str]):
    assert main(["data", "show", "scenes/val", "num=2", "role=referring", "--number", "1"]) == 0
    assert "2 records" in capsys.readouterr().out
    assert (
        main(["data", "show", "scenes/val", "num=2", "role=referring", "--tokens", "--task", "gres", "--number", "1"])
        == 0
    )
    assert "The perception result is" in " ".join(capsys.readouterr().out.split())


def test_data_show_names_the_near_dataset(capsys: pytest.CaptureFixture[str]):
    assert main(["data", "show", "scenes/vall"]) == 2
    assert "scenes/val" in capsys.readouterr().err


def test_data_list_and_models_list(capsys: pytest.CaptureFixture[str]):
    assert main(["data", "list"]) == 0 and main(["models", "list"]) == 0
    lines = capsys.readouterr().out
    assert "scenes/heldout\n" in lines and "mvplm-tiny  (architecture" in lines


def test_doctor_tells_versions_and_devices(capsys: pytest.CaptureFixture[str]):
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert torch.__version__.split("+")[0] in told and str(torch.get_num_threads()) in told
    lines = {parts[1].strip(): parts[2].strip() for line in told.splitlines() if len(parts := line.split("│")) > 2}
    assert lines["deformable attention"].startswith("numba (fastest for cpu")
    assert {"torch threads", "bf16", "device", "trained models"} <= lines.keys()


def test_doctor_tells_why_a_kernel_was_taken(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("MVPLM_DEFORM_ATTN", "reference")
    assert main(["doctor"]) == 0
    assert "reference (MVPLM_DEFORM_ATTN says so)" in capsys.readouterr().out
    monkeypatch.setattr("mvplm.models.ops.backends._trouble", lambda *_, **__: "it is broken")
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert "none: the deformable attention backend 'reference'" in told and "it is broken" in told


def perception(label: str) -> Perception:
    boxes = torch.tensor([[1.0, 2.0, 5.0, 6.0], [0.0, 0.0, 2.0, 2.0]])
    instances = Instances(boxes, torch.tensor([0.9, 0.2]), [label, label], torch.zeros(2, dtype=torch.long))
    return Perception((8, 8), "instance", [label], instances=instances)


class FakePerceiver:
    config = SimpleNamespace(infer=SimpleNamespace(batch_size=2))

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], dict]] = []

    def predict(self, images, **question):
        self.asked.append(([path.name for path in images], question))
        return [perception("cat") for _ in images]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakePerceiver:
    perceiver = FakePerceiver()
    monkeypatch.setattr("mvplm.perceiver.load", lambda name, device: perceiver)
    return perceiver


def pictures(folder: Path, *names: str) -> list[str]:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(folder / name)
    return [str(folder / name) for name in names]


def test_predict_writes_a_picture_and_json_per_image(tmp_path: Path, fake: FakePerceiver):
    given = pictures(tmp_path, "a.png", "b.png", "other/a.png")
    out = tmp_path / "out"
    assert main(["predict", *given, "--classes", "cat, dog,", "--task", "instance", "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        f"{stem}.{kind}" for stem in ("a", "a_2", "b") for kind in ("json", "png")
    ]
    assert json.loads((out / "a.json").read_text())["instances"][0]["box"] == [1.0, 2.0, 5.0, 6.0]
    question = {"task": "instance", "batch_size": 2, "classes": ["cat", "dog"]}
    assert fake.asked == [(["a.png", "b.png"], question), (["a.png"], question)]


def test_predict_with_a_sentence(tmp_path: Path, fake: FakePerceiver):
    given = pictures(tmp_path, "a.png")
    assert main(["predict", *given, "--text", "the [b]red[/b] one, left", "--out", str(tmp_path / "out")]) == 0
    assert fake.asked[0][1] == {"task": None, "batch_size": 2, "text": "the [b]red[/b] one, left"}


@pytest.mark.parametrize("extra", [[], ["--classes", "a", "--text", "b"]])
def test_predict_wants_names_or_a_sentence(tmp_path: Path, extra: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(["predict", *pictures(tmp_path, "a.png"), *extra]) == 2
    assert "either --classes" in capsys.readouterr().err


def test_predict_names_every_missing_picture(capsys: pytest.CaptureFixture[str]):
    assert main(["predict", "one.png", "two.png", "--text", "x"]) == 2
    assert "one.png, two.png" in capsys.readouterr().err


def test_train_and_evaluate_call_the_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    calls = []
    ended = SimpleNamespace(step=3, interrupted=None, seconds=1.0)
    monkeypatch.setattr("mvplm.runs.run_training", lambda config, resume: calls.append((config, resume)) or ended)
    monkeypatch.setattr("mvplm.runs.run_evaluation", lambda config, **rest: calls.append((config, rest)))
    path = tmp_path / "a.yaml"
    path.write_text("train: {steps: 7}")
    assert main(["train", "--config-file", str(path), "--resume", "train.seed=5"]) == 0
    assert (calls[0][0].train.steps, calls[0][0].train.seed, calls[0][1]) == (7, 5, True)
    assert (
        main(["evaluate", "--config-file", str(path), "--weights", "mvplm-tiny-scenes", "--limit", "2", "--out", "o"])
        == 0
    )
    kept = {"pictures": 0, "save_predictions": True, "intervals": True}
    assert calls[1][1] == {"weights": "mvplm-tiny-scenes", "limit": 2, "out": Path("o"), **kept}
    ended.interrupted = "SIGINT"
    assert main(["train", "--config-file", str(path)]) == 130


def test_summary_counts_what_was_found():
    assert summary(perception("cat")) == "cat"
    segments = [SegmentInfo(i, label, 0, True, 0.9, 4) for i, label in enumerate(("dog", "dog", "sky"), 1)]
    found = Perception((2, 2), "panoptic", [], panoptic=PanopticMap(torch.zeros(2, 2, dtype=torch.int32), segments))
    assert summary(found) == "2 x dog, sky"
    assert summary(Perception((2, 2), "referring", ["x"], no_target=True)) == "nothing fits"
