"""The groups of a tower hold each of its parameters once, from the input to the output."""

import pytest

from clipkit.models.building import build_model
from clipkit.models.layer_groups import image_groups, text_groups
from tests.models.conftest import tiny_config


def test_groups_of_an_open_clip_model_are_its_layers() -> None:
    model = build_model(tiny_config(), "tiny", None)
    visual = model.visual
    images, texts = image_groups(visual), text_groups(model)

    assert len(images) == len(visual.transformer.resblocks) + 2
    assert len(texts) == len(model.transformer.resblocks) + 2
    assert images[-1][0] is visual.proj
    assert texts[-1][0] is model.text_projection
    found = [id(item) for group in (*images, *texts) for item in group]
    expected = [id(item) for name, item in model.named_parameters() if name != "logit_scale"]
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize("number", [0, -1])
def test_the_first_group_is_the_embedding_and_norms_go_with_the_last_layer(number: int) -> None:
    model = build_model(tiny_config(), "tiny", None)
    groups = text_groups(model)
    part = model.token_embedding.weight if number == 0 else model.ln_final.weight
    group = groups[0] if number == 0 else groups[-2]
    assert any(item is part for item in group)
