# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Train a dual encoder from scratch
#
# What a CLIP model is, end to end, in a minute or two on a laptop: pairs of an image and a caption,
# two small encoders, the contrastive loss, and a space in which words find images that were never
# seen. The images are drawings of coloured shapes, because millions of photographs do not fit
# into a minute; everything else is what `clipkit train` does with photographs.

# %%
import json
import random
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw

import clipkit

plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 80})

# %% [markdown]
# ## Pairs
#
# Six colours, four shapes, any place and size. Two of the combinations are never drawn for
# training: a model that finds a "green star" afterwards has learnt what "green" and "star" mean.

# %%
COLOURS = {
    "red": (200, 40, 40), "green": (40, 150, 60), "blue": (50, 80, 200),
    "yellow": (230, 200, 40), "purple": (130, 60, 160), "black": (20, 20, 20),
}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "star")
NEVER_SHOWN = {("green", "star"), ("yellow", "square")}
generator = random.Random(0)


def draw(colour: str, shape: str) -> Image.Image:
    """Return a drawing, 48 x 48 pixels, of a shape at a random place and size."""
    image = Image.new("RGB", (48, 48), tuple(generator.randint(225, 255) for _ in range(3)))
    pen, radius = ImageDraw.Draw(image), generator.uniform(9, 18)
    x, y = (generator.uniform(radius, 48 - radius) for _ in range(2))
    if shape == "circle":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=COLOURS[colour])
        return image
    corners = {"square": 4, "triangle": 3, "star": 10}[shape]
    turn = {"square": np.pi / 4, "triangle": -np.pi / 2, "star": -np.pi / 2}[shape]
    points = []
    for corner in range(corners):
        reach = radius * (0.4 if shape == "star" and corner % 2 else 1)
        angle = turn + 2 * np.pi * corner / corners
        points.append((x + reach * np.cos(angle), y + reach * np.sin(angle)))
    pen.polygon(points, fill=COLOURS[colour])
    return image


work = Path(tempfile.mkdtemp())
every = [(colour, shape) for colour in COLOURS for shape in SHAPES]
WORDINGS = ("a {} {}", "a drawing of a {} {}", "one {} {} on paper")
for part, count in (("train", 150), ("val", 6)):
    (work / part).mkdir()
    for colour, shape in every:
        for number in range(count if (colour, shape) not in NEVER_SHOWN else 0):
            name = work / part / f"{colour}-{shape}-{number}"
            draw(colour, shape).save(name.with_suffix(".png"))
            name.with_suffix(".txt").write_text(generator.choice(WORDINGS).format(colour, shape))
strip = Image.new("RGB", (48 * 12, 48))
for place, (colour, shape) in enumerate(every[::2]):
    strip.paste(draw(colour, shape), (48 * place, 0))
print(len(list((work / "train").glob("*.png"))), "drawings to train on")
strip

# %% [markdown]
# ## Two small encoders
#
# An architecture is one of open_clip's names, or a file in its form: a vision transformer over
# patches of 8 pixels, and a text transformer with the usual vocabulary.

# %%
architecture = work / "small.json"
architecture.write_text(
    json.dumps(
        {
            "embed_dim": 48,
            "vision_cfg": {
                "image_size": 48, "patch_size": 8, "width": 64, "layers": 3, "head_width": 32,
            },
            "text_cfg": {
                "context_length": 12, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2,
            },
        }
    )
)  # fmt: skip

# %% [markdown]
# ## The run
#
# All of a run is in one place, the same keys as in a TOML file for `clipkit train`. `check` looks
# at the data and times a few steps before anything is spent.

# %%
config = clipkit.RunConfig.from_dict(
    {
        "output": str(work / "run"),
        "model": {"architecture": str(architecture)},
        "data": {
            "train": str(work / "train"), "validation": str(work / "val"), "workers": 0,
        },
        "optimizer": {"lr": 1e-3},
        "compute": {"batch_size": 66, "epochs": 9},
    }
)  # fmt: skip
report = clipkit.train(config)
sorted(path.name for path in (work / "run").iterdir())

# %% [markdown]
# ## What was learnt, step by step
#
# The loss asks of each drawing which of the 66 captions of its batch is its own, and of each
# caption which drawing; equal captions do not count against each other. Of each of the 22 kinds
# there are about four in a batch, in three wordings that no drawing gives away, so that three are
# left to guess among for who tells all kinds apart: the loss ends near ln 3. The logit scale is
# learnt as well.

# %%
lines = [json.loads(line) for line in (work / "run" / "metrics.jsonl").read_text().splitlines()]
training = [line for line in lines if line["kind"] == "training"]
steps = [line["step"] for line in training]
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3))
left.plot(steps, [line["loss"] for line in training])
left.axhline(np.log(66), color="0.6", linestyle=":", label="guessing: ln 66")
left.axhline(np.log(3), color="0.6", linestyle="--", label="kinds told apart: ln 3")
left.set(xlabel="step", ylabel="contrastive loss")
left.legend(frameon=False)
right.plot(steps, np.exp([line["logit_scale"] for line in training]))
right.set(xlabel="step", ylabel="logit scale")
plt.tight_layout()
plt.show()

# %% [markdown]
# ## The model
#
# What comes out loads like any other model. All 24 kinds, of new drawings, by their names, among
# them the two that were never shown:

# %%
encoder = clipkit.load(report.checkpoint)
kinds = [f"{colour} {shape}" for colour, shape in every]
classifier = clipkit.ZeroShotClassifier(encoder, kinds, templates=["a {}"])
drawn = [draw(colour, shape) for colour, shape in every for _ in range(20)]
right = classifier.scores(encoder.encode_images(drawn)).argmax(axis=1) == np.repeat(range(24), 20)
shares = right.reshape(24, 20).mean(axis=1)
figure, axis = plt.subplots(figsize=(9, 3))
is_new = np.array([kind in NEVER_SHOWN for kind in every])
axis.bar(range(24), shares, color=np.where(is_new, "#d98a3d", "#6b8fb5"))
axis.set(xticks=range(24), ylabel="share of right answers", ylim=(0, 1.02))
axis.set_xticklabels(kinds, rotation=60, ha="right")
axis.axhline(1 / 24, color="0.4", linestyle=":")
axis.set_title("orange: never shown in training; dotted: guessing", fontsize=10)
plt.show()
{kind: float(share) for kind, share in zip(kinds, shares, strict=True) if share < 0.9}

# %% [markdown]
# Look at the orange bars before you trust a model with what it has not seen put together: one of
# the two combinations may be told and the other not, and another seed may turn that round. Knowing
# "yellow" and knowing "square" is not yet knowing a yellow square.

# %% [markdown]
# ## Search with it
#
# A library of new drawings, and words that no caption has used together. What comes beside the
# green stars shows which of the two words weighs more with this model.

# %%
library_folder = work / "library"
library_folder.mkdir()
for number, image in enumerate(drawn[::4]):
    image.save(library_folder / f"{kinds[number // 5].replace(' ', '-')}-{number % 5}.png")
library = clipkit.PhotoLibrary.open(library_folder, encoder)
library.sync()
hits = library.search("a green star", k=6)
strip = Image.new("RGB", (48 * 6 + 20, 48), "white")
for place, hit in enumerate(hits):
    strip.paste(Image.open(hit.path), (52 * place, 0))
strip

# %% [markdown]
# ## What this has not shown
#
# - A model knows what it was trained on and nothing else: this one has no idea of a cat. `clipkit
#   card` and notebook 05 are how to find out what a model knows.
# - With photographs the same needs millions of pairs. Almost always the better start is a model
#   that somebody has trained: prompts, then a few labels (notebook 03), then fine-tuning, where
#   `clipkit train` says what was forgotten and whether the result is better than the base at all.
#
# The same from a shell is a TOML file with the keys above and `clipkit train RUN.toml`;
# docs/training.md has every key, and how runs resume after they were killed.
