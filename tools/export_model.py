"""Turn a training run into a model directory that ``mvplm.load`` reads.

Example:
    python tools/export_model.py --run outputs/scenes --vocabulary scenes/val --out mvplm/assets/mvplm-tiny-scenes
"""

import argparse
from pathlib import Path

from mvplm.export import export_run


def main() -> None:
    """Parse the arguments and export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="directory of a run, or one of its checkpoints")
    parser.add_argument("--out", type=Path, required=True, help="directory to write")
    parser.add_argument("--vocabulary", help="dataset whose names (things and stuff) the model should know")
    parser.add_argument("--full", action="store_true", help="store float32 instead of bfloat16")
    arguments = parser.parse_args()
    print(export_run(arguments.run, arguments.out, vocabulary=arguments.vocabulary, half=not arguments.full))


if __name__ == "__main__":
    main()
