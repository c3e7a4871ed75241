# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Coming from open_clip, transformers or sentence-transformers
#
# The idioms of each, and the same with clipkit, run side by side on one model: what is printed is
# how far apart the results are. There is no network here, so the model is a tiny one of random
# weights; put `"ViT-B-32/openai"` or the directory of your own checkpoint in its place. All
# idioms, with those that have no counterpart, are in docs/coming_from.md.

# %%
import json
import logging
import tempfile
import warnings
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file

import clipkit

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)
torch.manual_seed(0)

samples = Path("../demo/samples").resolve()
paths = [samples / f"{name}.jpg" for name in ("cat", "owl", "castle", "rocket")]
words = ["a cat", "an owl", "a castle", "a rocket"]


# %%
def apart(first: np.ndarray, second: np.ndarray) -> str:
    """Return how far apart two results are at most."""
    furthest = np.abs(np.asarray(first) - np.asarray(second)).max()
    return next(f"less than {step:.0e} apart" for step in (1e-5, 1e-3, 1) if furthest < step)


config = {
    "embed_dim": 64,
    "quick_gelu": True,  # as OpenAI's weights have it
    "vision_cfg": {"image_size": 64, "patch_size": 16, "width": 64, "layers": 3, "head_width": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 3},
}
work = Path(tempfile.mkdtemp())
checkpoint = work / "open_clip"
checkpoint.mkdir()
weights = open_clip.CLIP(**config).state_dict()
save_file({key: value.contiguous() for key, value in weights.items()},
          checkpoint / "open_clip_model.safetensors")  # fmt: skip
preprocess_cfg = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
(checkpoint / "open_clip_config.json").write_text(
    json.dumps({"model_cfg": config, "preprocess_cfg": preprocess_cfg})
)
print(sorted(file.name for file in checkpoint.iterdir()))

# %% [markdown]
# ## open_clip
#
# Load, preprocess, encode, normalize, multiply:

# %%
model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{checkpoint}")
model.eval()
tokenizer = open_clip.get_tokenizer(f"local-dir:{checkpoint}")
with torch.no_grad():
    image_features = model.encode_image(torch.stack([preprocess(Image.open(p)) for p in paths]))
    text_features = model.encode_text(tokenizer(words))
    image_features /= image_features.norm(dim=-1, keepdim=True)
    text_features /= text_features.norm(dim=-1, keepdim=True)
    logits = model.logit_scale.exp() * image_features @ text_features.T
    probabilities = logits.softmax(dim=-1).numpy()

# %% [markdown]
# With clipkit rows come normalized, the scale is the multiplier itself, and an unreadable file
# would be named. `decode = "exact"` decodes large JPEGs whole, as open_clip does; the default
# decodes them at the size that is needed, which is several times as fast.

# %%
encoder = clipkit.load(checkpoint, engine="torch")
encoder.decode = "exact"
images, texts = encoder.encode_images(paths), encoder.encode_texts(words)
print("images:", apart(images, image_features))
print("texts: ", apart(texts, text_features))

classifier = clipkit.ZeroShotClassifier(encoder, words, templates=["{}"])
print("probabilities:", apart(classifier.scores(images), probabilities))

# %% [markdown]
# ### Zero-shot with templates
#
# The loop over classes and templates, as in open_clip's `build_zero_shot_classifier`:

# %%
classes, templates = ["cat", "owl", "castle"], ["a photo of a {}.", "a drawing of a {}."]
columns = []
with torch.no_grad():
    for name in classes:
        tokens = tokenizer([template.format(name) for template in templates])
        features = model.encode_text(tokens, normalize=True).mean(dim=0)
        columns.append(features / features.norm())
theirs = torch.stack(columns)

ours = clipkit.ZeroShotClassifier(encoder, classes, templates=templates)
print(apart(ours.class_embeddings, theirs))

# %% [markdown]
# ### The modules themselves
#
# Hooks, attention maps, a text encoder for something else: `towers` has open_clip's own objects.

# %%
towers = encoder.towers
print(type(towers.model).__module__, "-", type(towers.image_encoder).__name__)

# %% [markdown]
# ## transformers
#
# clipkit writes a checkpoint in transformers' layout and reads one. `AutoModel` and its processor
# on the same weights:

# %%
from transformers import AutoModel, AutoProcessor, pipeline
from transformers.utils import logging as transformers_logging

transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()
encoder.save(work / "transformers", layout="transformers")
theirs = AutoModel.from_pretrained(work / "transformers")
processor = AutoProcessor.from_pretrained(work / "transformers", backend="pil")
inputs = processor(
    text=words, images=[Image.open(p) for p in paths], return_tensors="pt", padding=True
)
with torch.no_grad():
    outputs = theirs(**inputs)

same = clipkit.load(work / "transformers", engine="torch")
same.decode = "exact"
print("images:", apart(same.encode_images(paths), outputs.image_embeds))
print("texts: ", apart(same.encode_texts(words), outputs.text_embeds))

# %% [markdown]
# The pipeline for zero-shot classification is a classifier, with the same keys in its answer:

# %%
detector = pipeline(
    "zero-shot-image-classification", model=theirs, image_processor=processor.image_processor,
    tokenizer=processor.tokenizer,
)  # fmt: skip
answers = detector(str(paths[0]), candidate_labels=classes, hypothesis_template="a photo of a {}.")
mine = clipkit.ZeroShotClassifier(same, classes, templates=["a photo of a {}."])
(ranked,) = mine.classify(paths[:1])
print([item["label"] for item in answers], [item["label"] for item in ranked])
print(apart([item["score"] for item in answers], [item["score"] for item in ranked]))

# %% [markdown]
# ## sentence-transformers
#
# `encode` takes images and texts in one call; here each has its own, because a string could be
# either. Its images differ in the fifth digit, because it resizes them with torchvision and not
# with Pillow. `similarity` and `semantic_search` are products and their largest entries.

# %%
from sentence_transformers import SentenceTransformer, util

sentences = SentenceTransformer(str(work / "transformers"))
image_rows = sentences.encode([Image.open(p) for p in paths], normalize_embeddings=True)
text_rows = sentences.encode(words, normalize_embeddings=True)
print("images:", apart(same.encode_images(paths), image_rows))
print("texts: ", apart(same.encode_texts(words), text_rows))

hits = util.semantic_search(text_rows, image_rows, top_k=2)
similarities = same.similarity(same.encode_texts(words), same.encode_images(paths))
for word, theirs, row in zip(words, hits, similarities, strict=True):
    ours = clipkit.top_k(row, k=2)
    print(f"{word:>9}", [hit["corpus_id"] for hit in theirs], [int(place) for place in ours])

# %% [markdown]
# A folder is more than a matrix: a `PhotoLibrary` keeps the rows between runs, follows what
# changes in the folder, and says how likely a hit fits. With the model that comes with clipkit:

# %%
library = clipkit.PhotoLibrary.open(samples, clipkit.load())
library.sync()
for hit in library.search("a castle", k=3):
    print(f"{hit.path.stem:<10} {hit.relevance:.2f}")

# %% [markdown]
# ## What else differs
#
# - Embeddings know their space: those of two models do not compare by mistake.

# %%
try:
    encoder.similarity(texts, clipkit.load().encode_images(paths))
except clipkit.SpaceMismatchError as error:
    print(type(error).__name__)

# %% [markdown]
# - Images are upright (EXIF), of any mode and format, and a broken one is told with its name.
# - `clipkit compile` makes the same model start in a fraction of a second, without torch.
# - Training: notebook 04, and docs/training.md beside `open_clip_train` and `Trainer`.
