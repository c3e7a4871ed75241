"""A small folder of embeddings in the form of the published ones."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# stored_sets.py names classes of COCO by their supercategories, so all of those must be there.
CIFAR = "airplane automobile bird cat deer dog frog horse ship truck"
LVIS = "airplane car_(automobile) bird cat deer dog frog horse boat truck bicycle"
COCO = (
    "bird cat dog horse sheep cow elephant bear zebra giraffe bicycle car motorcycle airplane bus "
    "train truck boat banana apple sandwich orange broccoli carrot hot_dog pizza donut cake chair "
    "couch potted_plant bed dining_table toilet microwave oven toaster sink refrigerator bottle "
    "wine_glass cup fork knife spoon bowl tv laptop mouse remote keyboard cell_phone"
)
WIDTH = 16


def write_clip_data(folder: Path) -> None:
    """Write every file that stored_sets.py reads, of 16 dimensions and few images."""
    random = np.random.default_rng(0)

    def rows(number: int) -> NDArray[np.float32]:
        return random.normal(size=(number, WIDTH)).astype(np.float32)

    lvis = LVIS.split()
    prototypes = rows(len(lvis))
    np.savez(
        folder / "lvis1203_vitb32.npz",
        names=np.array(lvis[::-1]),  # in another order than the classes
        image_prototype_k5=prototypes[::-1],
        text_a_cname=rows(len(lvis)),
        text_gpt3_mean=rows(len(lvis)),
    )
    labels = np.repeat(np.arange(10), np.arange(1, 11))  # 1 image of the first, 10 of the last
    np.savez(
        folder / "cifar10_500_vitb32.npz",
        image=3 * prototypes[labels] + 0.01 * rows(len(labels)),
        labels=labels,
        class_names=np.array(CIFAR.split()),
        class_text_a_cname=rows(10),
    )
    np.savez(
        folder / "mixed130_vitb32.npz",
        image=rows(6),
        label=np.array(["cat", "misc", "bike", "carsgraz", "rider", "dog"]),
    )
    names = [name.replace("_", " ") for name in COCO.split()]
    shown = ["bird", "dog", "bird", "dog", "bird dog", "cat", "", "bird"]
    np.savez(
        folder / "coco500_vitb16.npz",
        image=rows(8),
        labels80=np.array([[name in those.split() for name in names] for those in shown]),
        labelled=np.arange(8) < 7,  # the last is not labelled
        class_names80=np.array(names),
        class_text_single=rows(len(names)),
        class_text_ensemble=rows(len(names)),
    )
    (folder / "facebookresearch+Detic").mkdir()
    np.save(folder / "facebookresearch+Detic" / "oid_clip_a+cname.npy", rows(200))
