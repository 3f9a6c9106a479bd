"""Small datasets in the exact public formats, written to a folder: file trees, key names, ids with holes."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from mvplm.data.panoptic_png import write_panoptic
from mvplm.structures.masks import encode_mask

SIZE = (10, 20)
HEIGHT, WIDTH = SIZE


def picture(path: Path, size: tuple[int, int] = SIZE) -> Path:
    """A picture of (H, W) ``size`` in the format of its ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shades = np.arange(size[0] * size[1] * 3, dtype=np.uint32) % 251
    Image.fromarray(shades.reshape(*size, 3).astype(np.uint8)).save(path)
    return path


def write_json(path: Path, data: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
    return path


def labels(path: Path, values: np.ndarray) -> Path:
    """A label map; uint8 as "L", uint16 as 16 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def region(rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[rows, columns] = True
    return mask


DOG = region(slice(2, 6), slice(4, 9))
PEOPLE = region(slice(6, 9), slice(10, 18))
POLYGON = [[12.0, 1.0, 18.0, 1.0, 18.0, 5.0, 12.0, 5.0]]


def runs(mask: np.ndarray) -> dict:
    """Uncompressed run lengths, column by column, as COCO writes crowds."""
    flat, counts, value = mask.flatten("F"), [], False
    while len(flat):
        change = np.flatnonzero(flat != value)
        counts.append(int(change[0]) if len(change) else len(flat))
        flat, value = flat[counts[-1] :], not value
    return {"counts": counts, "size": list(mask.shape)}


def coco_image(image_id: int) -> dict:
    name = f"{image_id:012d}.jpg"
    return {
        "license": 4,
        "file_name": name,
        "coco_url": f"http://images.cocodataset.org/val2017/{name}",
        "height": HEIGHT,
        "width": WIDTH,
        "date_captured": "2013-11-14 17:02:52",
        "flickr_url": "http://farm7.staticflickr.com/1/x_z.jpg",
        "id": image_id,
    }


def coco_things(categories: list[dict]) -> list[dict]:
    return [{"supercategory": "any", "id": c["id"], "name": c["name"]} for c in categories if c["isthing"]]


def coco_tree(root: Path, categories: list[dict], split: str = "val2017") -> Path:
    """Two pictures of COCO 2017: a polygon, a compressed code and a crowd; the second one has nothing but a map."""
    folder = root / "coco"
    images = [coco_image(139), coco_image(285)]
    for info in images:
        picture(folder / split / info["file_name"])
    instances = [
        {
            "segmentation": POLYGON,
            "area": 24.0,
            "iscrowd": 0,
            "image_id": 139,
            "bbox": [12.0, 1.0, 6.0, 4.0],
            "category_id": 62,
            "id": 907,
        },
        {
            "segmentation": encode_mask(DOG),
            "area": 20,
            "iscrowd": 0,
            "image_id": 139,
            "bbox": [4, 2, 5, 4],
            "category_id": 18,
            "id": 31,
        },
        {
            "segmentation": runs(PEOPLE),
            "area": 24,
            "iscrowd": 1,
            "image_id": 139,
            "bbox": [10, 6, 8, 3],
            "category_id": 1,
            "id": 900100000139,
        },
    ]
    info = {"description": "COCO 2017 Dataset", "version": "1.0", "year": 2017}
    base = {"info": info, "licenses": [], "images": images}
    things = coco_things(categories)
    write_json(
        folder / "annotations" / f"instances_{split}.json", {**base, "annotations": instances, "categories": things}
    )
    ids = np.full(SIZE, 3226956)
    ids[DOG], ids[PEOPLE], ids[9] = 260, 65536 * 3 + 7, 0
    maps = []
    for image in images:
        name = image["file_name"].replace("jpg", "png")
        (folder / f"panoptic_{split}").mkdir(exist_ok=True)
        write_panoptic(ids, folder / f"panoptic_{split}" / name)
        segments = [
            {"id": 3226956, "category_id": 199, "iscrowd": 0, "bbox": [0, 0, 20, 9], "area": 136},
            {"id": 260, "category_id": 18, "iscrowd": 0, "bbox": [4, 2, 5, 4], "area": 20},
            {"id": 196615, "category_id": 1, "iscrowd": 1, "bbox": [10, 6, 8, 3], "area": 24},
        ]
        maps.append({"segments_info": segments, "file_name": name, "image_id": image["id"]})
    panoptic = [{"supercategory": "any", **c} for c in categories]
    write_json(folder / "annotations" / f"panoptic_{split}.json", {**base, "annotations": maps, "categories": panoptic})
    captions = [
        {"image_id": 139, "id": 74, "caption": "A dog in front of a wall.\n"},
        {"image_id": 139, "id": 12, "caption": "People and a dog."},
    ]
    write_json(folder / "annotations" / f"captions_{split}.json", {**base, "annotations": captions})
    return folder


ADE_NAME = "ADE_val_00000001"


def ade_release(root: Path) -> Path:
    """One picture of ADE20K as released: class map from 1, instance map with class in red and number in green."""
    folder = root / "ADEChallengeData2016"
    picture(folder / "images" / "validation" / f"{ADE_NAME}.jpg")
    semantic = np.full(SIZE, 1, np.uint8)
    semantic[DOG], semantic[PEOPLE], semantic[9] = 13, 9, 0
    labels(folder / "annotations" / "validation" / f"{ADE_NAME}.png", semantic)
    instances = np.zeros((*SIZE, 3), np.uint8)
    instances[2:6, 4:6] = (4, 1, 0)
    instances[2:6, 6:9] = (4, 2, 0)
    instances[PEOPLE] = (2, 3, 0)
    labels(folder / "annotations_instance" / "validation" / f"{ADE_NAME}.png", instances)
    return folder


CITY_ID = "frankfurt_000000_000294"


def cityscapes_release(root: Path) -> Path:
    """One picture of Cityscapes with class map and instance map."""
    folder = root / "cityscapes"
    picture(folder / "leftImg8bit" / "val" / "frankfurt" / f"{CITY_ID}_leftImg8bit.png")
    classes = np.full(SIZE, 7, np.uint8)
    classes[DOG], classes[PEOPLE], classes[9], classes[0] = 26, 24, 3, 23
    numbers = classes.astype(np.uint16)
    numbers[2:6, 4:6], numbers[2:6, 6:9] = 26000, 26001
    place = folder / "gtFine" / "val" / "frankfurt"
    labels(place / f"{CITY_ID}_gtFine_labelIds.png", classes)
    labels(place / f"{CITY_ID}_gtFine_instanceIds.png", numbers)
    return folder


def voc_tree(root: Path) -> Path:
    """One picture of VOC 2012 with its palette map: background, two classes and a border."""
    folder = root / "VOCdevkit" / "VOC2012"
    picture(folder / "JPEGImages" / "2007_000033.jpg")
    values = np.zeros(SIZE, np.uint8)
    values[DOG], values[PEOPLE], values[5, 4:9] = 12, 20, 255
    indexed = Image.fromarray(values, "P")
    indexed.putpalette([value for colour in range(256) for value in (colour, 0, 255 - colour)])
    (folder / "SegmentationClass").mkdir()
    indexed.save(folder / "SegmentationClass" / "2007_000033.png")
    (folder / "ImageSets" / "Segmentation").mkdir(parents=True)
    (folder / "ImageSets" / "Segmentation" / "val.txt").write_text("2007_000033\n")
    return folder


def context_release(root: Path, names: dict[int, str]) -> Path:
    """One picture of PASCAL Context with its MATLAB file, in VOC 2010's tree; ``names`` go into labels.txt."""
    from scipy.io import savemat

    folder = root / "VOCdevkit" / "VOC2010"
    picture(folder / "JPEGImages" / "2008_000002.jpg")
    values = np.full(SIZE, 440, np.uint16)
    values[DOG], values[PEOPLE], values[9], values[0] = 113, 1, 0, 431
    (folder / "trainval").mkdir()
    savemat(folder / "trainval" / "2008_000002.mat", {"LabelMap": values})
    (folder / "labels.txt").write_text("\n".join(f"{number}: {name}" for number, name in names.items()) + "\n")
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    (folder / "ImageSets" / "Main" / "train.txt").write_text("")
    (folder / "ImageSets" / "Main" / "val.txt").write_text("2008_000002\n")
    return folder


def lvis_tree(root: Path) -> Path:
    """One picture of LVIS v1: two marked classes, one of them not completely, one absent, one never looked for."""
    picture(root / "coco" / "train2017" / "000000391895.jpg")
    image = {
        "date_captured": "2013-11-14 11:18:45",
        "neg_category_ids": [20, 4],
        "license": 3,
        "height": HEIGHT,
        "width": WIDTH,
        "flickr_url": "http://farm9.staticflickr.com/1/y_z.jpg",
        "coco_url": "http://images.cocodataset.org/train2017/000000391895.jpg",
        "not_exhaustive_category_ids": [7],
        "id": 391895,
    }
    rows = [
        (1, "aerosol_can", "c"),
        (4, "alcohol", "f"),
        (7, "bow_(weapon)", "r"),
        (20, "apple", "f"),
        (21, "tag", "f"),
    ]
    categories = [
        {
            "frequency": frequency,
            "synset": f"{name}.n.01",
            "synonyms": [name],
            "id": id_,
            "def": "-",
            "name": name,
            "image_count": 1,
            "instance_count": 1,
        }
        for id_, name, frequency in rows
    ]
    annotations = [
        {
            "area": 24.0,
            "id": 501,
            "segmentation": POLYGON,
            "image_id": 391895,
            "bbox": [12.0, 1.0, 6.0, 4.0],
            "category_id": 7,
        },
        {
            "area": 6.0,
            "id": 77,
            "segmentation": [[1.0, 1.0, 4.0, 1.0, 4.0, 3.0, 1.0, 3.0]],
            "image_id": 391895,
            "bbox": [1.0, 1.0, 3.0, 2.0],
            "category_id": 1,
        },
    ]
    data = {"info": {"version": "v1"}, "licenses": [], "images": [image], "annotations": annotations}
    write_json(root / "lvis" / "lvis_v1_val.json", {**data, "categories": categories})
    return root / "lvis"


def odinw_tree(folder: Path, split: str = "valid") -> Path:
    """A set as Roboflow exports it: the first category is the name of the set."""
    picture(folder / split / "fish-1_jpg.rf.abc.jpg")
    data = {
        "info": {"year": "2020", "description": "Exported from roboflow.ai"},
        "licenses": [],
        "categories": [
            {"id": 0, "name": "creatures", "supercategory": "none"},
            {"id": 1, "name": "fish", "supercategory": "creatures"},
            {"id": 4, "name": "shark", "supercategory": "creatures"},
        ],
        "images": [
            {"id": 0, "license": 1, "file_name": "fish-1_jpg.rf.abc.jpg", "height": HEIGHT, "width": WIDTH},
        ],
        "annotations": [
            {
                "id": 0,
                "image_id": 0,
                "category_id": 4,
                "bbox": [4, 2, 5, 4],
                "area": 20,
                "segmentation": [],
                "iscrowd": 0,
            }
        ],
    }
    write_json(folder / split / "_annotations.coco.json", data)
    return folder
