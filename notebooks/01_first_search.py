# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # First search and zero-shot in five minutes
#
# Everything here runs offline, on a laptop, with the small model that comes with clipkit. It
# loads in well under a second and needs no torch.

# %%
from pathlib import Path

import numpy as np
from IPython.display import display
from PIL import Image

import clipkit

encoder = clipkit.load()
encoder

# %% [markdown]
# ## One space for images and words
#
# `encode_images` and `encode_texts` return rows of norm 1 in the same space, so their product is
# the cosine: higher is closer.

# %%
samples = Path("../demo/samples")
images = [samples / name for name in ("cat.jpg", "owl.jpg", "castle.jpg", "coffee_cup.jpg")]
words = ["a cat", "an owl", "a castle", "a cup of coffee"]

similarities = clipkit.cosine_similarity(encoder.encode_texts(words), encoder.encode_images(images))
print("columns:", [path.stem for path in images])
for word, row in zip(words, similarities, strict=True):
    print(f"{word:>16}", np.array2string(row, precision=2, floatmode="fixed"))

# %% [markdown]
# The diagonal stands out. That is all there is to search: the rows of a folder's images, the
# row of a query, and the largest products.
#
# ## Search a folder
#
# A `PhotoLibrary` remembers the rows of a folder, so that each image goes through the model
# once. `sync` looks for new, changed and deleted images and says what it could not read.

# %%
library = clipkit.PhotoLibrary.open(samples, encoder)
report = library.sync()
print(len(library), "images,", len(report.skipped), "skipped")


# %%
def show(query: clipkit.SearchQuery, k: int = 4) -> None:
    """Print the closest images and show them side by side."""
    hits = library.search(query, k=k)
    print(", ".join(f"{hit.path.stem} {hit.similarity:.2f} ({hit.relevance:.0%})" for hit in hits))
    strip = Image.new("RGB", (112 * k, 84), "white")
    for place, hit in enumerate(hits):
        with Image.open(hit.path) as image:
            image.thumbnail((108, 84))
            strip.paste(image, (112 * place, 0))
    display(strip)


show("sailing boats")

# %% [markdown]
# Beside each cosine stands its relevance: how far the query stands out from what else the image
# could show. A cosine of .3 may be a match for one query and none for another; a relevance from
# 50 % on means the same for all. So a search can say that there is nothing:

# %%
show("a zebra")
print(library.search("a zebra", min_relevance=0.5))

# %% [markdown]
# A string is words. A query may be an image too, such as a path, and queries add up: `+` and `-`
# between parts, and a number in front for its weight.

# %%
show(samples / "owl.jpg")

# %%
show(clipkit.parse_query("a bird", "+", "0.5:red"))

# %% [markdown]
# ## Classify without training
#
# Give the labels; prompts such as "a photo of a …" are filled in and averaged. Scores come out of
# a softmax, so they are about *these labels against each other*.

# %%
classifier = clipkit.ZeroShotClassifier(encoder, ["cat", "dog", "owl", "castle", "boat"])
for path, labels in zip(images, classifier.classify(images, k=2), strict=True):
    print(f"{path.name:>15}", [(item["label"], round(item["score"], 2)) for item in labels])

# %% [markdown]
# There is no coffee among the labels, and still the cup got one: a softmax has to choose. With
# `multi_label` every label is compared on its own with everyday words, and none may win.

# %%
independent = clipkit.ZeroShotClassifier(
    encoder, ["cat", "dog", "owl", "castle", "boat"], multi_label=True
)
for path, labels in zip(images, independent.classify(images, k=2), strict=True):
    print(f"{path.name:>15}", [(item["label"], round(item["score"], 2)) for item in labels])

# %% [markdown]
# ## Bad files are reported, not hidden

# %%
try:
    encoder.encode_images(["../README.md"])
except clipkit.ImageReadError as error:
    print(error)

# %% [markdown]
# ## Where to go from here
#
# - The same from a shell: `clipkit search "a cat" demo/samples`, `clipkit classify …`.
# - A stronger model: `clipkit.load("ViT-B-32/laion2b_s34b_b79k")`, with the extra `clipkit[torch]`.
# - What the embedded model can and cannot do, with figures: `weights/starter/CARD.md`.
