"""Prompt templates: plain strings with one {} for the class name, in named sets.

A prompt ensemble beats any single prompt, and a word that names the domain ("a photo of a {}, a
type of food.") is worth as much as generated descriptions (WaffleCLIP, arXiv 2306.07282).
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from clipkit.arguments import items_of
from clipkit.errors import InputError, PromptError
from clipkit.models.standard_names import openai_templates

TEMPLATE_SETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        # The class name alone: for labels that are sentences already.
        "none": ("{}",),
        "photo": ("a photo of a {}.",),
        # Short everyday wordings; with the starter they beat one template (its CARD has figures).
        "default": ("{}", "a photo of a {}", "a picture of a {}", "a close-up photo of a {}"),
        # The subset of the 80 ImageNet templates that openai/CLIP's notebook found best together.
        "imagenet7": (
            "itap of a {}.",
            "a bad photo of the {}.",
            "a origami {}.",
            "a photo of the large {}.",
            "a {} in a video game.",
            "art of the {}.",
            "a photo of the small {}.",
        ),
        "drawing": (
            "a drawing of a {}",
            "a sketch of a {}",
            "a cartoon of a {}",
            "clip art of a {}",
        ),
        "texture": (
            "a photo of a {} texture.",
            "a photo of a {} pattern.",
            "a photo of a {} thing.",
        ),
        "satellite": ("a satellite photo of {}.", "an aerial photo of {}.", "{} seen from above."),
        "scene": ("a photo of a {}.", "a photo of the {}.", "a view of a {}.", "inside a {}."),
    }
)
"""Named sets of templates."""

DEFAULT_TEMPLATES = "default"
_OPENAI = "openai80"  # a set that is open_clip's, so it is there only with it


def resolve_templates(templates: str | Sequence[str]) -> tuple[str, ...]:
    """Return the templates that a name or a list of strings stands for.

    Args:
        templates: The name of a set, "openai80" (the 80 that OpenAI's ImageNet figures are of, from
            open_clip), one template, or several; each has exactly one {}.

    Returns:
        At least one template, without repeats.

    Raises:
        PromptError: If a template does not have exactly one {}.
        InputError: If there is none, or the name is not one of a set.
        MissingExtraError: If "openai80" is asked for and open_clip is not installed.

    Example:
        >>> resolve_templates("photo")
        ('a photo of a {}.',)
        >>> resolve_templates("a blurry {}")
        ('a blurry {}',)
    """
    if isinstance(templates, str):
        if templates in TEMPLATE_SETS:
            return TEMPLATE_SETS[templates]
        if templates == _OPENAI:
            return openai_templates()
        if "{" not in templates:
            raise InputError(
                f"{templates!r} is neither a template with {{}} nor a set; "
                f"sets: {', '.join((*TEMPLATE_SETS, _OPENAI))}"
            )
        templates = (templates,)
    chosen = tuple(dict.fromkeys(items_of(templates, "templates must be a list of strings")))
    if not chosen:
        raise InputError("at least one template is needed, got none")
    for template in chosen:
        check_template(template)
    return chosen


def check_template(template: str) -> None:
    """Raise unless a template has exactly one {} for the class name.

    Args:
        template: Text with one {}; no other braces.

    Raises:
        PromptError: If it has none, several, or other braces.
    """
    if callable(template):
        raise PromptError(
            "a template must be a string with one {}, got a function: of open_clip's, give "
            '[t("{}") for t in OPENAI_IMAGENET_TEMPLATES]'
        )
    if not isinstance(template, str):
        raise PromptError(
            f"a template must be a string, got {type(template).__name__} {template!r}"
        )
    if template.count("{}") != 1 or template.count("{") != 1 or template.count("}") != 1:
        raise PromptError(
            f"a template must have exactly one {{}} for the class name, got {template!r}; "
            'for example "a photo of a {}."'
        )


def fill_template(template: str, class_name: str, *, domain: str | None = None) -> str:
    """Return the prompt for a class.

    Args:
        template: Text with one {}.
        class_name: Inserted for the {}; underscores are read as spaces.
        domain: What kind of things the classes are, in the singular: "food", "bird".

    Returns:
        The prompt. Nothing else is changed, not even "a" before a vowel, so that the templates of
        CLIP's papers give the papers' prompts.

    Example:
        >>> fill_template("a photo of a {}.", "Siamese_cat", domain="pet")
        'a photo of a Siamese cat, a type of pet.'
    """
    name = " ".join(class_name.replace("_", " ").split())
    prompt = template.replace("{}", name)
    if domain is None:
        return prompt
    stop = "." if prompt.endswith(".") else ""
    return f"{prompt.removesuffix('.')}, a type of {domain}{stop}"
