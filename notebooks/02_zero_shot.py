# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Zero-shot classification done well
#
# Labels are words, and a classifier is made of them in a moment. This is how to make a good one:
# how to phrase the labels, what its probabilities are worth, and how it says "none of these".
#
# The images are the 45 sample photographs with the label of each, and the model is the small one
# that comes with clipkit. 45 images are few: read the intervals.

# %%
import io
import json
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import clipkit

samples = Path("../demo/samples").resolve()
labels = json.loads((samples / "labels.json").read_text())
paths = [samples / name for name in labels]
truth = list(labels.values())
names = sorted(set(truth))
numbers = [names.index(label) for label in truth]
print(len(paths), "photographs of", len(names), "things")

# %% [markdown]
# ## Embed once
#
# Everything below is arithmetic on these rows. No image goes through the model a second time.

# %%
encoder = clipkit.load()
rows = encoder.encode_images(paths)
rows.shape

# %% [markdown]
# ## Templates
#
# A model has read captions, not labels: "a photo of a cow" is closer to them than "cow". Several
# phrasings, averaged, cancel out what each of them adds. `clipkit.TEMPLATE_SETS` has sets by
# name, and a template of your own is a string with a `{}`.


# %%
def accuracy(classifier: clipkit.ZeroShotClassifier) -> float:
    """Return the share of photographs whose first label is right."""
    return float(np.mean(classifier.scores(rows).argmax(axis=1) == numbers))


for templates in ("{}", "a photo of a {}", "default", "a tattoo of a {}"):
    made = clipkit.ZeroShotClassifier(encoder, names, templates=templates)
    print(f"{accuracy(made):.2f}  {templates}")
sorted(clipkit.TEMPLATE_SETS)

# %% [markdown]
# The small model hardly cares; larger ones often do. Which is best for your model and images is
# to be measured: `clipkit.evaluate` gives intervals, and counts the images on which templates
# are right and the bare names are not, and the other way round.

# %%
folders = Path(tempfile.mkdtemp())
for path, label in zip(paths, truth, strict=True):
    (folders / label).mkdir(exist_ok=True)
    (folders / label / path.name).symlink_to(path)
report = clipkit.evaluate(encoder, folders)
right = report.intervals["acc1"]
print(f"accuracy {right.mean:.2f}, between {right.low:.2f} and {right.high:.2f} with 95 %")
for found in report.templates:
    print(f"{found.templates}: {found.acc1:.2f}", end=", ")
    print(f"only they are right: {found.gained}, only the bare names: {found.lost}")

# %% [markdown]
# ## What a probability is worth
#
# The softmax of cosines is a probability only by name. Of the images to which a model says .8,
# eight of ten should be right. `calibrate` fits the one number that cosines are multiplied by,
# from images whose labels are known. Half of the photographs are fitted on, and the other half is
# what we look at.

# %%
classifier = clipkit.ZeroShotClassifier(encoder, names)
known, unseen = slice(0, None, 2), slice(1, None, 2)
calibration = classifier.calibrate(rows[known], numbers[known])
calibrated = classifier.with_calibration(calibration)


def log_loss(made: clipkit.ZeroShotClassifier) -> float:
    """Return the mean of -ln P(right label) over the photographs that were not fitted on."""
    scores = made.scores(rows[unseen])
    right = scores[np.arange(len(scores)), numbers[unseen]]
    return float(-np.log(right).mean())


print(f"log loss as it comes {log_loss(classifier):.2f}, calibrated {log_loss(calibrated):.2f}")

# %% [markdown]
# Where "calibrated" is not lower, leave it: this model is calibrated as it comes. OpenAI's are
# not, and gain from twenty images on (docs/probabilities.md).
#
# ## Sets of labels with a guarantee
#
# One label may be wrong; a set of labels that holds the right one with 90 % can be had for any
# model (split conformal prediction). How large the sets are says how sure the model is.

# %%
sets = classifier.with_calibration(calibration).label_sets(rows[unseen], coverage=0.9)
held = np.mean(
    [
        label in [found["label"] for found in one]
        for one, label in zip(sets, truth[unseen], strict=True)
    ]
)
sizes = [len(one) for one in sets]
print(f"{held:.2f} of the sets hold the right label")
print(f"labels a set: {min(sizes)} to {max(sizes)}, half of them {int(np.median(sizes))} or fewer")
for path, one in list(zip(paths[unseen], sets, strict=True))[:4]:
    print(f"{path.stem:>12}: {', '.join(found['label'] for found in one[:5])}")

# %% [markdown]
# The promise is one about the average over all draws of the images that it is calibrated on. In
# a single draw of 23 photographs, nearly each of another thing, it may be held to 8 of 10 only, or
# to all; docs/probabilities.md has how much that varies.
#
# ## None of these
#
# A softmax over "cat, dog" calls a bridge one of the two. `with_unknown` adds the answer that an
# image shows none of the labels, measured against everyday words.

# %%
pets = clipkit.ZeroShotClassifier(encoder, ["cat", "dog"])
careful = pets.with_unknown()
shown = [samples / f"{name}.jpg" for name in ("cat", "dog", "stone_bridge", "sailing_boats")]
for path, plain, honest in zip(
    shown, pets.classify(shown, k=1), careful.classify(shown, k=1), strict=True
):
    print(
        f"{path.stem:>14}: {plain[0]['label']} {plain[0]['score']:.2f}"
        f"  ->  {honest[0]['label']} {honest[0]['score']:.2f}"
    )

# %% [markdown]
# ## Several labels at once
#
# If an image may show several things, or none, labels must not compete. With `multi_label` each
# stands on its own.

# %%
tags = clipkit.ZeroShotClassifier(
    encoder, ["cat", "boat", "bridge", "river", "harbour", "castle"], multi_label=True
)
for path, found in zip(shown, tags.classify(shown), strict=True):
    print(f"{path.stem:>14}:", ", ".join(f"{one['label']} {one['score']:.2f}" for one in found))

# %% [markdown]
# ## Where does it see that?
#
# A heat map is in raw cosines, so that the map of a thing that is not there stays pale.

# %%
boats = samples / "sailing_boats.jpg"
heat = clipkit.explain(encoder, boats, "a sailing boat")
print(heat.verdict)
drawing = Image.open(io.BytesIO(clipkit.draw_heat_map(heat, boats)))
drawing.thumbnail((600, 600))
drawing.convert("P", palette=Image.Palette.ADAPTIVE)

# %% [markdown]
# ## Where to go from here
#
# - The same from a shell: `clipkit classify photos --labels "cat, dog" --unknown`,
#   `clipkit evaluate folders/ --calibrate pets.json`.
# - If words do not name your classes: notebook 03, a few labelled images.
# - How all of this was measured, on OpenAI's models too: docs/labels.md, docs/probabilities.md.
