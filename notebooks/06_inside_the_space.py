# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Inside the shared space
#
# Images and texts become rows of norm 1 in one space. This is what that space looks like, and
# four of its properties that decide how well anything built on it works.

# %%
import csv
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import clipkit

plt.rcParams.update({"figure.figsize": (7, 3.6), "axes.spines.top": False})
plt.rcParams.update({"axes.spines.right": False, "figure.dpi": 80})

samples = Path("../demo/samples").resolve()
labels = json.loads((samples / "labels.json").read_text())
with (samples / "captions.csv").open(newline="") as file:
    captions = {row["filepath"]: row["title"] for row in csv.DictReader(file)}
names = list(labels)

encoder = clipkit.load()
images = encoder.encode_images([samples / name for name in names])
texts = encoder.encode_texts([captions[name] for name in names])
print(images.shape, texts.shape, np.linalg.norm(images, axis=1).round(3)[:3])

# %% [markdown]
# ## Two towers
#
# One tower reads pixels, the other tokens; each ends in a projection into the same D dimensions,
# scaled to norm 1. That is all they share. An image can therefore be embedded today and the words
# that find it be thought of next year.

# %%
description = clipkit.diagnose().model
print("image:", description.image.tower, "at", description.image.size)
print("text: ", description.text.tower, "up to", description.text.context_length, "tokens")
print("D:    ", encoder.embed_dim, "  logit scale:", round(encoder.logit_scale, 1))

# %% [markdown]
# ## Cosines, and what the logit scale does
#
# Training pulls an image and its caption together and pushes all others apart. The cosines of
# pairs are not near 1, though. What counts is that they are higher than those of strangers.

# %%
cosines = clipkit.cosine_similarity(images, texts)
is_pair = np.eye(len(names), dtype=bool)
figure, axis = plt.subplots()
bins = np.linspace(-0.2, 0.7, 46)
axis.hist(cosines[~is_pair], bins, density=True, alpha=0.6, label="image and another's caption")
axis.hist(cosines[is_pair], bins, density=True, alpha=0.6, label="image and its own caption")
axis.set(xlabel="cosine", ylabel="density")
axis.legend(frameon=False)
plt.show()
print(f"pairs {cosines[is_pair].mean():.2f}, strangers {cosines[~is_pair].mean():.2f}")

# %% [markdown]
# A softmax over cosines between -1 and 1 would hardly prefer anything, so they are multiplied by
# the logit scale (1 / temperature), which is learnt with the weights. It changes how sure the
# model sounds, and never which caption is first.


# %%
def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


for scale in (1, encoder.logit_scale, 100):
    probabilities = softmax(scale * cosines)
    sure, right = probabilities.max(axis=1).mean(), np.mean(cosines.argmax(axis=1) == np.arange(45))
    print(f"times {scale:5.1f}: says {sure:.2f} on average, is right in {right:.2f}")

# %% [markdown]
# At its own scale the model is about as sure as it is right. Which scale that is for your data,
# `clipkit evaluate --calibrate` measures.
#
# ## The modality gap
#
# Images lie with images and texts with texts: the two kinds are apart, in all models trained this
# way. Drawn on the two directions in which all rows vary most:

# %%
both = np.vstack([images, texts])
_, _, directions = np.linalg.svd(both - both.mean(axis=0), full_matrices=False)
flat = (both - both.mean(axis=0)) @ directions[:2].T
figure, axis = plt.subplots(figsize=(6, 4.5))
for image, text in zip(flat[:45], flat[45:], strict=True):
    axis.plot(*zip(image, text, strict=True), color="0.85", linewidth=0.6, zorder=0)
axis.scatter(*flat[:45].T, s=18, label="images")
axis.scatter(*flat[45:].T, s=18, marker="s", label="captions")
axis.set(xticks=[], yticks=[], title="each line joins an image and its caption")
axis.legend(frameon=False)
plt.show()
gap = np.linalg.norm(images.mean(axis=0) - texts.mean(axis=0))
print(f"distance of the two means: {gap:.2f}")

# %% [markdown]
# Because of the gap, cosines of an image to images and to words are on different scales: another
# bird may be closer than the right caption. So clipkit sees each kind from its own mean before it
# mixes them, as in `"a bird" + castle.jpg` (docs/composition.md).

# %%
owl = names.index("owl.jpg")
near = clipkit.cosine_similarity(images, images)[owl]
next_image = np.argsort(near)[-2]  # the last is the owl itself
print(f"the owl and its caption:    {cosines[owl, owl]:.2f}  ({captions['owl.jpg']})")
print(f"the owl and another image:  {near[next_image]:.2f}  ({names[next_image]})")

# %% [markdown]
# ## Hubs
#
# In many dimensions a few points are near to everything. An image that is among the first for
# many unrelated captions is such a hub; with no hubs every image would be among the first five of
# five captions.

# %%
first = np.argsort(-cosines, axis=0)[:5]  # of each caption, its five closest images
times = np.bincount(first.ravel(), minlength=len(names))
figure, axis = plt.subplots()
axis.bar(range(45), np.sort(times)[::-1])
axis.axhline(5, color="0.4", linewidth=0.8)
axis.set(xlabel="images, most frequent first", ylabel="among the first 5 of so many captions")
plt.show()
for place in np.argsort(-times, kind="stable")[:3]:
    print(f"{names[place]:<18} among the first five of {times[place]} captions")

# %% [markdown]
# That is why a cosine alone does not say whether an image fits. clipkit's relevance asks how far
# the query stands out from what *else* the image could show: each image is compared with 297
# everyday words, and a hub is near to all of them, so that its cosine is worth less.

# %%
library = clipkit.PhotoLibrary.open(samples, encoder)
library.sync()
for query in ("a kingfisher", "a zebra"):
    for hit in library.search(query, k=2):
        print(
            f"{query:<13} {hit.path.stem:<12} {hit.similarity:.2f}  relevance {hit.relevance:.2f}"
        )

# %% [markdown]
# ## What is left in fewer dimensions and bits
#
# Neighbours survive rough treatment: rows in 8 bits are a quarter of the size, and in 1 bit a
# thirty-second. `recall` asks how many of the ten nearest are still found.

# %%
for precision in ("int8", "binary"):
    quantizer = clipkit.EmbeddingQuantizer.fit(images, precision)
    print(f"{precision:<7} {quantizer.recall(texts, images, k=10):.2f} of the ten nearest")

# %% [markdown]
# ## Where to go from here
#
# - How relevance is computed and measured: docs/relevance.md. Queries of several parts:
#   docs/composition.md. Fewer bits: docs/embeddings.md.
# - Everything here holds for any model that `clipkit.load` takes; the figures change.
