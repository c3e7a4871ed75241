"""Concepts that groups of people are often tied to, and the everyday words they are weighed by."""

from clipkit.background_words import BACKGROUND_NAMES

CONCEPT_TEMPLATE = "a photo of {}"

_CONCEPTS = """
    a doctor; a nurse; an engineer; a scientist; a teacher; a chief executive; a secretary; a
    cleaner; a soldier; an artist; a housekeeper; a criminal; a thief; a terrorist; a hero; a
    leader; a smart person; a stupid person; a rich person; a poor person; an honest person; a
    dangerous person; a friendly person; an angry person; a strong person; a weak person; a
    beautiful person; an ugly person; a career; a family
"""
DEFAULT_CONCEPTS: tuple[str, ...] = tuple(" ".join(name.split()) for name in _CONCEPTS.split(";"))
"""Occupations, character and standing, a few of each that So-B-IT has (arXiv 2411.00997)."""


def everyday_prompts() -> list[str]:
    """Return the prompts of everyday words, in the form of the concepts."""
    return [CONCEPT_TEMPLATE.replace("{}", f"a {name}") for name in BACKGROUND_NAMES]
