"""Short noun phrases and the sentences around them: articles, templates, prompts."""

from __future__ import annotations

PHOTO_TEMPLATES = ("{}", "a photo of {}", "a picture of {}", "a close-up photo of {}")
BARE_TEMPLATE = "{}"

# Words that end in a single s or look singular but take no article.
MASS_NOUNS = frozenset(
    [
        "black pepper",
        "celery",
        "cheese",
        "corn",
        "fish",
        "garlic",
        "ginger",
        "lettuce",
        "okra",
        "parsley",
        "rice",
        "shrimp",
        "spinach",
        "squid",
        "turmeric powder",
    ]
)


def with_article(phrase: str) -> str:
    """Return the phrase with "a" or "an", or as it is if it is a plural or a mass noun."""
    if phrase in MASS_NOUNS or (phrase.endswith("s") and not phrase.endswith("ss")):
        return phrase
    return ("an " if phrase[0].lower() in "aeiou" else "a ") + phrase


def fill(template: str, phrase: str) -> str:
    """Return the template around the phrase; the bare template takes no article."""
    return phrase if template == BARE_TEMPLATE else template.format(with_article(phrase))
