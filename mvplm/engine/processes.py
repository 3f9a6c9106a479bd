"""One training run in several processes: each joins the others before it asks for its share of the data."""


def join_processes(device: str = "auto") -> None:
    """Meet the other processes of a launched run; alone, nothing happens. Calling it again does nothing.

    Args:
        device: "auto" (the fastest present) or "cpu", as in ``TrainerSettings``.
    """
    from accelerate import PartialState

    PartialState(cpu=device == "cpu")
