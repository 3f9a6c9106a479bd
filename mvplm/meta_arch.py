"""MVP-LM as a meta-architecture of detectron2: ``build_model(cfg)`` gives a model that its tools train and evaluate."""

from typing import Any

from mvplm.build_training import build_criterion, build_mapper, build_weights
from mvplm.interop.detectron2 import HOW_TO_GET, DatasetNames, MVPLMAdapter, TrainingParts, default_task
from mvplm.perceiver import Perceiver, load

DEFAULTS = {"MODEL": "mvplm-tiny-scenes", "DATASET": "", "TASK": "", "MODE": ""}
"""Keys below ``cfg.MODEL.MVPLM``: name or directory of the model; dataset whose names it looks for (the first of
``cfg.DATASETS.TEST`` or ``TRAIN`` when empty); task and mode (see MVPLMAdapter, its choice when empty)."""


class MVPLM(MVPLMAdapter):
    """The meta-architecture. Batches and results are those of :class:`mvplm.interop.detectron2.MVPLMAdapter`.

    Args:
        cfg: detectron2's configuration with the keys of :func:`with_mvplm_config`. ``cfg.INPUT.FORMAT`` is the order of
            the channels, ``cfg.MODEL.DEVICE`` the place.

    Raises:
        ValueError: no model or names of that name, or an unknown task.
    """

    def __init__(self, cfg: Any) -> None:
        settings = cfg.MODEL.MVPLM
        perceiver = load(settings.MODEL, device=cfg.MODEL.DEVICE)
        names = _names(cfg, perceiver)
        task = settings.TASK or default_task(names)
        super().__init__(
            perceiver,
            names,
            task=task,
            image_format=cfg.INPUT.FORMAT,
            mode=settings.MODE or None,
            training_parts=training_parts(perceiver, task),
        )


def training_parts(perceiver: Perceiver, task: str) -> TrainingParts:
    """Mapper, losses and their weights as the perceiver's configuration has them, for an adapter that is trained."""
    config = perceiver.config
    return TrainingParts(
        mapper=build_mapper(config, perceiver.tokenizer, task=task),
        criterion=build_criterion(config),
        weight_of=build_weights(config).weight_of,
    )


def register_meta_architecture() -> type[MVPLM]:
    """Make "MVPLM" a choice for ``cfg.MODEL.META_ARCHITECTURE``; a second call changes nothing.

    Raises:
        ImportError: detectron2 is not installed.
    """
    try:
        from detectron2.modeling import META_ARCH_REGISTRY
    except ImportError as error:
        raise ImportError(f"the meta-architecture MVPLM {HOW_TO_GET}") from error
    if MVPLM.__name__ not in META_ARCH_REGISTRY:
        META_ARCH_REGISTRY.register(MVPLM)
    return MVPLM


def with_mvplm_config(cfg: Any) -> Any:
    """A copy of a detectron2 configuration that builds MVP-LM: the meta-architecture registered and chosen, keys added.

    Args:
        cfg: of ``detectron2.config.get_cfg()``; left as it is.

    Raises:
        ImportError: detectron2 is not installed.
    """
    extended = cfg.clone()
    extended.defrost()
    section = type(cfg)()
    for key, value in DEFAULTS.items():
        section[key] = value
    extended.MODEL.MVPLM = section
    extended.MODEL.META_ARCHITECTURE = register_meta_architecture().__name__
    if cfg.is_frozen():
        extended.freeze()
    return extended


def _names(cfg: Any, perceiver: Perceiver) -> DatasetNames:
    """Those of the dataset, or the perceiver's own where the configuration speaks of no dataset."""
    datasets = [cfg.MODEL.MVPLM.DATASET, *cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN]
    named = [name for name in datasets if name]
    if named:
        from detectron2.data import MetadataCatalog

        return DatasetNames.from_metadata(MetadataCatalog.get(named[0]))
    if perceiver.vocabulary is None:
        raise ValueError("the model has no vocabulary of its own: name a dataset in cfg.MODEL.MVPLM.DATASET")
    return DatasetNames.of(perceiver.vocabulary)
