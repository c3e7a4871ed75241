# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Adapt the model to your own labels, and know when to stop
#
# Words are the cheapest way to classify, and often enough. Where they are not, a few labelled
# images are. Here is the ladder on two dozen photographs whose labels no model can read: the
# codes of a made-up archive.

# %%
import tempfile
from pathlib import Path

from IPython.display import Image, display

import clipkit

samples = Path("../demo/samples").resolve()
archive = {
    "series A": "cat cow dog giraffe gibbon hedgehog horses koala panda polar_bear red_panda sheep",
    "series B": "castle colosseum eiffel_tower pyramid stone_bridge temple windmill",
    "series C": "duck hens kingfisher owl parrot",
}
work = Path(tempfile.mkdtemp())
table = work / "archive.csv"
rows = [f"{samples}/{name}.jpg,{code}" for code, names in archive.items() for name in names.split()]
table.write_text("\n".join(["filepath,code", *rows]))
print(len(rows), "labelled photographs")

# %% [markdown]
# ## The ladder
#
# Each rung is fitted on two thirds of the images and measured on the others, three times. Prompts
# cannot know what "series B" is; retrieval and heads see it from a handful of examples. Nothing
# here needs torch, and embeddings are kept, so a second call takes a second.

# %%
encoder = clipkit.load()
options = clipkit.AdaptationOptions(label_column="code", retention_set="", baseline=False)
report = clipkit.adapt(encoder, table, options)
for rung in report.rungs:
    right = "not measured: it " + rung.lack if rung.accuracy is None else f"{rung.accuracy:.0%}"
    print(f"{rung.step}  {rung.title:<38} {right}")

# %%
print(report.recommendation)

# %% [markdown]
# The recommendation is the cheapest rung that is expected to be as good as the best on other
# images. Had the labels been words, prompts would have been right at once. Even then two dozen
# images are too few to say that nothing is better:

# %%
words = {"series A": "a mammal", "series B": "a building", "series C": "a bird"}
spoken = work / "spoken.csv"
lines = [row.replace(code, words[code]) for row in rows for code in words if row.endswith(code)]
spoken.write_text("\n".join(["filepath,code", *lines]))
print(clipkit.adapt(encoder, spoken, options).recommendation)

# %% [markdown]
# ## The head
#
# What comes out is one small file: the classifier, its class names, its temperature, and the
# space it belongs to. Embeddings of another model are refused.

# %%
head = report.head
head.save(work / "archive.safetensors")
classifier = clipkit.HeadClassifier(encoder, clipkit.Head.load(work / "archive.safetensors"))
unseen = [samples / f"{name}.jpg" for name in ("bee", "biplane")]
for path, labels in zip(unseen, classifier.classify(unseen, k=2), strict=True):
    print(path.stem, [f"{found['label']} {found['score']:.2f}" for found in labels])

# %% [markdown]
# A head knows its own classes and nothing else: it has a place for a bee and for a biplane too.
# That is what "kept" in the report of `clipkit adapt` is about, and why zero-shot labels stay
# useful beside it.
#
# ## Which images to label next
#
# Of the photographs without a label, these tell most about the others:

# %%
found = clipkit.next_to_label(encoder, samples, data=table, count=4, options=options)
for image in found.images:
    print(Path(image.path).name, "-", image.reason)
display(Image(found.images[0].path, width=240))

# %% [markdown]
# ## A concept of your own
#
# A few images can also become a word. It searches like any other, alone or mixed with text.

# %%
library = clipkit.PhotoLibrary.open(samples, encoder)
library.sync()
bears = [samples / f"{name}.jpg" for name in ("panda", "red_panda", "koala")]
concept = clipkit.teach(encoder, "our bears", bears, library=library).concept
for hit in library.search(concept.embedding, k=5):
    print(f"{hit.path.stem:<12} {hit.similarity:.2f}  relevance {hit.relevance:.0%}")

# %% [markdown]
# From here the ladder goes on with LoRA and fine-tuning (`last_step=6`, with torch): the report
# then also says what the model has forgotten. `docs/adaptation.md` has the figures on eleven
# sets.
