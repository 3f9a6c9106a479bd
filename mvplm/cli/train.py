"""``mvplm train``: a run from a config file."""

from pathlib import Path
from typing import Annotated

import typer

from mvplm.cli.guard import say


def train(
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings that win over the file: dotted.key=value.", show_default=False)
    ] = None,
    *,
    config_file: Annotated[Path, typer.Option("--config-file", help="YAML file of the run.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint of the run.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what the run needs: memory, data, steps, disk.")
    ] = False,
    processes: Annotated[int, typer.Option("--processes", min=1, help="For --dry-run: processes of the run.")] = 1,
    gpu_memory: Annotated[float, typer.Option("--gpu-memory", min=0, help="For --dry-run: GiB of a GPU.")] = 24.0,
) -> None:
    """Train a model. Ctrl-C saves a checkpoint and ends; --resume goes on bit by bit as if nothing had happened.

    SIGTERM, with which schedulers end a job, saves as well and ends with code 0.
    """
    from mvplm.config import load_config

    config = load_config(config_file, overrides or [])
    if dry_run:
        from mvplm.dry_run import estimate, format_estimate

        typer.echo(format_estimate(estimate(config, processes=processes), gib=gpu_memory))
        return

    from mvplm.engine import leave_processes
    from mvplm.runs import exit_code, run_training

    ended = run_training(config, resume=resume)
    leave_processes()
    if ended.interrupted is not None:
        say(
            f"Stopped by {ended.interrupted} at step {ended.step}; the state is saved, --resume goes on.",
            style="yellow",
        )
        raise typer.Exit(exit_code(ended))
    say(
        f"Done: {ended.step} steps in {ended.seconds / 60:.1f} minutes, results in {config.train.output}", style="green"
    )


COMMANDS = {"train": (train, "mvplm train --config-file configs/quick/scenes.yaml optim.lr=1e-3")}
