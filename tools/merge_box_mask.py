"""Merge the adapters of a Qwen3-VL-Seg run into its base model, for stage 2.

Example: python tools/merge_box_mask.py outputs/qwen3vl_seg_stage1 outputs/qwen3vl_seg_merged
"""

import argparse
from pathlib import Path


def main() -> None:
    """Parse and call."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="directory of the run, with its config.yaml and checkpoints")
    parser.add_argument("out", type=Path, help="folder to write into")
    arguments = parser.parse_args()
    from mvplm.config import load_config
    from mvplm.qwen3vl_seg.merging import merge_box_mask

    print(merge_box_mask(load_config(arguments.run / "config.yaml"), arguments.out, weights=arguments.run))


if __name__ == "__main__":
    main()
