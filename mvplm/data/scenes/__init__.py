"""The embedded data set: pictures of things on textured ground, drawn from a seed, with every kind of annotation."""

from mvplm.data.scenes.dataset import ROLES, SceneDataset
from mvplm.data.scenes.things import HELD_OUT
from mvplm.data.scenes.world import NAME_VOCABULARY, SHAPE_VOCABULARY, WORLD_VERSION, scene_texts, world_hash
from mvplm.data.scenes.writer import write_coco

__all__ = [
    "HELD_OUT",
    "NAME_VOCABULARY",
    "ROLES",
    "SHAPE_VOCABULARY",
    "WORLD_VERSION",
    "SceneDataset",
    "scene_texts",
    "world_hash",
    "write_coco",
]
