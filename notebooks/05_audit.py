# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Audit a model before you build on it
#
# Whatever a base model gets wrong goes into everything that is built on it. Four questions, each
# with a measurement: is it loaded right, what can it do at all, does it know when it is wrong,
# and does it treat groups of images differently?
#
# The images here are the 45 sample photographs, of which no group is a group of people; an audit
# of your own model wants your own images, with the groups that you are answerable to.

# %%
import csv
import json
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

import clipkit

plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 80})
samples = Path("../demo/samples").resolve()
labels = json.loads((samples / "labels.json").read_text())
encoder = clipkit.load()

# %% [markdown]
# ## Is it loaded right?
#
# A wrong activation, a wrong resize or a cut vocabulary costs accuracy and raises no error.
# `diagnose` looks for these, and compares embeddings with ones that are known to be right.

# %%
diagnosis = clipkit.diagnose()
for check in diagnosis.checks:
    print(f"{check.verdict:<8} {check.name}")
print("healthy:", diagnosis.is_healthy)

# %% [markdown]
# ## What can it do at all?
#
# The card asks small questions with known answers, and tests each ability against guessing. What
# a contrastive model usually cannot do is told as plainly as what it can.

# %%
card = clipkit.make_model_card(encoder)
for probe in card.probes[:14]:
    print(probe.sentence)

# %%
tested = card.probes[:14]
figure, axis = plt.subplots(figsize=(7, 4.2))
places = range(len(tested))
axis.barh(places, [probe.accuracy.mean for probe in tested], color="#6b8fb5")
axis.scatter([probe.chance for probe in tested], places, color="black", marker="|", s=180)
axis.set(yticks=places, yticklabels=[probe.name for probe in tested], xlim=(0, 1))
axis.set_xlabel("share of right answers; the mark is guessing")
axis.invert_yaxis()
plt.tight_layout()
plt.show()

# %% [markdown]
# ## Does it know when it is wrong?
#
# Confidence is only useful if it is lower where the model errs. Answering the surest half only,
# how many are right?

# %%
work = Path(tempfile.mkdtemp())
for name, label in labels.items():
    (work / "classes" / label).mkdir(parents=True, exist_ok=True)
    (work / "classes" / label / name).symlink_to(samples / name)
evaluation = clipkit.evaluate(encoder, work / "classes")
for found in evaluation.selective:
    print(f"the surest {found.coverage:4.0%}: {found.accuracy:.2f} right")
for confusion in evaluation.confusions[:4]:
    print(f"taken for another: {confusion.name} for {confusion.taken_for}")

# %% [markdown]
# ## Does it treat groups differently?
#
# `audit` compares groups that a table names. Here are two: whether the photograph shows an
# animal, which the model surely sees, and whether the file's name begins with a to g, which
# nobody can see. A good audit finds the first and leaves the second alone.

# %%
ANIMALS = "bee cat clownfish cow crab dog duck gibbon giraffe hedgehog hens horses kingfisher koala"
ANIMALS += " owl panda parrot polar_bear red_panda sheep"
table = work / "groups.csv"
with table.open("w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(["filepath", "label", "kind", "initial"])
    for name, label in labels.items():
        kind = "animal" if name.removesuffix(".jpg") in ANIMALS.split() else "other"
        writer.writerow([samples / name, label, kind, "a-g" if name < "h" else "h-z"])

options = clipkit.AuditOptions(
    group_columns=("kind", "initial"),
    label_column="label",
    queries=("a wild animal", "a building", "a holiday abroad"),
    concepts=(),  # thirty by default; each question more costs power
)
report = clipkit.audit(encoder, table, options)
for column in report.columns:
    findings = [one.sentence for one in report.findings if one.column == column.column]
    print(f"{column.column}: {len(findings)} findings", *findings[:4], sep="\n- ")

# %% [markdown]
# A finding is more than chance with all tests of the report considered: where nothing differs,
# a report has any finding in one of twenty cases at most. No finding is not "no bias": with 20
# images a group only large differences can be seen, and the intervals say how large they may be.

# %%
for column in report.columns:
    gap = column.classification.gap
    print(f"{column.column}: accuracy gap {gap.mean:.2f}, {gap.low:.2f} to {gap.high:.2f}")
for query in report.columns[0].queries:
    skew = query.at[0]
    print(f"{query.query!r}: first {skew.k}, max skew {skew.max_skew:.2f} (p {query.p:.2f})")

# %% [markdown]
# What the audit cannot know is part of its report:

# %%
for sentence in report.cannot_know:
    print("-", sentence)

# %% [markdown]
# ## Where to go from here
#
# - From a shell: `clipkit doctor MODEL`, `clipkit card MODEL`, `clipkit audit table.csv --group
#   gender -o audit.html`, and `clipkit compare A B DATA` before one model replaces another.
# - How often an audit cries wolf or misses, on planted bias: docs/audit.md.
