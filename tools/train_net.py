"""Training and evaluation in detectron2's manners; the same code as ``mvplm train`` and ``mvplm evaluate``.

Example: python tools/train_net.py --config-file configs/quick/scenes.yaml --num-gpus 2 optim.lr=1e-3
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--config-file", required=True, type=Path, help="YAML file of the run")
    parser.add_argument("--num-gpus", type=int, default=1, help="processes on this machine; 0 or 1: this process alone")
    parser.add_argument("--num-machines", type=int, default=1)
    parser.add_argument("--machine-rank", type=int, default=0, help="number of this machine, from 0")
    parser.add_argument(
        "--dist-url", default="auto", help="tcp://HOST:PORT of machine 0; auto: this machine, a free port"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    parser.add_argument("--eval-only", action="store_true", help="measure instead of training")
    parser.add_argument("--weights", help="with --eval-only: shipped weights or a directory")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that win over the file")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """What one process does; returns its exit code."""
    from mvplm.config import load_config
    from mvplm.engine import leave_processes
    from mvplm.runs import exit_code, run_evaluation, run_training

    config = load_config(arguments.config_file, arguments.overrides)
    code = 0
    if arguments.eval_only:
        run_evaluation(config, weights=arguments.weights, out=Path(config.train.output) / "evaluation")
    else:
        code = exit_code(run_training(config, resume=arguments.resume))
    leave_processes()
    return code


def launch_command(arguments: argparse.Namespace, given: Sequence[str]) -> list[str]:
    """Arguments of ``accelerate launch`` that start this file once per process.

    Args:
        arguments: the parsed command line.
        given: the command line as it was given, passed on to every process.

    Raises:
        ValueError: a rank outside the machines, or several machines without an address.
    """
    machines, rank = arguments.num_machines, arguments.machine_rank
    if not 0 <= rank < machines:
        raise ValueError(f"--machine-rank must lie in 0..{machines - 1}, got {rank}")
    options = [f"--num_processes={max(1, arguments.num_gpus) * machines}", f"--num_machines={machines}"]
    options += [f"--machine_rank={rank}", "--mixed_precision=no", "--dynamo_backend=no"]
    if arguments.num_gpus * machines > 1:
        options.append("--multi_gpu")
    if arguments.dist_url == "auto":
        if machines > 1:
            raise ValueError("several machines need --dist-url tcp://HOST:PORT")
        options.append("--main_process_port=0")
    else:
        host, _, port = arguments.dist_url.removeprefix("tcp://").rpartition(":")
        if not host or not port.isdigit():
            raise ValueError(f"--dist-url must be tcp://HOST:PORT or auto, got {arguments.dist_url!r}")
        options += [f"--main_process_ip={host}", f"--main_process_port={port}"]
    return [*options, __file__, *given]


def main(given: Sequence[str] | None = None) -> int:
    """Run here, or start one process per GPU and wait for them."""
    given = list(sys.argv[1:] if given is None else given)
    arguments = build_parser().parse_args(given)
    started = "LOCAL_RANK" in os.environ
    try:
        if started or (arguments.num_gpus <= 1 and arguments.num_machines == 1):
            return run(arguments)
        from accelerate.commands import launch

        launch.launch_command(launch.launch_command_parser().parse_args(launch_command(arguments, given)))
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
