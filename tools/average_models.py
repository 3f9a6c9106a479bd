"""The mean of several model directories as a new one, see mvplm/averaging.py.

Example:
    python tools/average_models.py outputs/leg_5 outputs/leg_6 outputs/leg_7 --out outputs/mean
"""

import argparse
from pathlib import Path

from mvplm.averaging import average_models


def main() -> None:
    """Parse the arguments and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "models", type=Path, nargs="+", metavar="DIR", help="model directories, best exported with --full"
    )
    parser.add_argument("--out", type=Path, required=True, help="directory to write")
    parser.add_argument("--half", action="store_true", help="store bfloat16 instead of float32")
    arguments = parser.parse_args()
    print(average_models(arguments.models, arguments.out, half=arguments.half))


if __name__ == "__main__":
    main()
