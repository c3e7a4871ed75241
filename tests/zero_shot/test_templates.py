import open_clip
import pytest

from clipkit.errors import InputError, PromptError
from clipkit.models.standard_names import imagenet_class_names
from clipkit.zero_shot.templates import (
    DEFAULT_TEMPLATES,
    TEMPLATE_SETS,
    check_template,
    fill_template,
    resolve_templates,
)


@pytest.mark.parametrize("name", TEMPLATE_SETS)
def test_every_set_has_only_good_templates(name: str) -> None:
    templates = TEMPLATE_SETS[name]
    assert len(templates) == len(set(templates)) >= 1
    for template in templates:
        check_template(template)


def test_the_default_is_a_set() -> None:
    assert DEFAULT_TEMPLATES in TEMPLATE_SETS


def test_imagenet7_is_the_published_subset() -> None:
    assert TEMPLATE_SETS["imagenet7"][0] == "itap of a {}."
    assert len(TEMPLATE_SETS["imagenet7"]) == 7


def test_templates_are_taken_by_name_alone_or_together() -> None:
    assert resolve_templates("photo") == ("a photo of a {}.",)
    assert resolve_templates("one {} only") == ("one {} only",)
    assert resolve_templates(["b {}", "a {}", "b {}"]) == ("b {}", "a {}")


@pytest.mark.parametrize("template", ["a photo", "{} and {}", "{name}", "{{}}", "{} {", ""])
def test_a_template_without_exactly_one_place_raises(template: str) -> None:
    with pytest.raises(PromptError, match=r"exactly one \{\}"):
        resolve_templates([template])


def test_an_unknown_set_raises_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"'phto' is neither .* sets: none, photo"):
        resolve_templates("phto")


def test_no_templates_raise() -> None:
    with pytest.raises(InputError, match="at least one template"):
        resolve_templates([])


@pytest.mark.parametrize(
    ("template", "name", "domain", "prompt"),
    [
        ("a photo of a {}.", "cat", None, "a photo of a cat."),
        ("a photo of a {}.", "owl", None, "a photo of a owl."),
        ("{}", "red_fox", None, "red fox"),
        ("a {} here", "  two   words ", None, "a two words here"),
        ("a photo of a {}.", "ramen", "food", "a photo of a ramen, a type of food."),
        ("a photo of a {}", "ramen", "food", "a photo of a ramen, a type of food"),
        ("{}", "C++ {x}", None, "C++ {x}"),
    ],
)
def test_prompts_by_hand(template: str, name: str, domain: str | None, prompt: str) -> None:
    assert fill_template(template, name, domain=domain) == prompt


def test_functions_as_open_clip_has_them_say_how_to_make_strings_of_them() -> None:
    open_clip = pytest.importorskip("open_clip")
    theirs = open_clip.OPENAI_IMAGENET_TEMPLATES
    with pytest.raises(PromptError, match=r'\[t\("\{\}"\) for t in OPENAI_IMAGENET_TEMPLATES\]'):
        resolve_templates(theirs)
    assert len(resolve_templates([t("{}") for t in theirs])) == 80


def test_openai80_is_open_clips_list() -> None:
    templates = resolve_templates("openai80")
    assert len(templates) == 80
    assert templates[0] == "a bad photo of a {}."
    assert templates == tuple(fill("{}") for fill in open_clip.OPENAI_IMAGENET_TEMPLATES)
    assert len(imagenet_class_names()) == 1000
    assert imagenet_class_names()[0] == "tench"
