import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clipkit.cli import models
from clipkit.models.known_models import recommended_models
from clipkit.runtime import autotune as machine
from clipkit.runtime.autotune import Trial
from tests.cli.conftest import Outcome

Run = Callable[..., Outcome]


def test_the_starter_is_listed_as_here(run: Run) -> None:
    outcome = run("models", "starter", "--json")
    (entry,) = [json.loads(line) for line in outcome.out.splitlines()]
    assert entry["name"] == "starter"
    assert entry["path"]
    assert entry["image_size"] in (224, 260)
    assert 28e6 < entry["parameters"] < 36e6


def test_published_figures_are_listed(run: Run) -> None:
    outcome = run("models", "vit-b-32/", "laion2b_s34b", "--json")
    (entry,) = [json.loads(line) for line in outcome.out.splitlines()]
    assert entry["name"] == "ViT-B-32/laion2b_s34b_b79k"
    assert entry["imagenet_top1"] == 0.6656  # open_clip's docs/openclip_results.csv
    assert entry["image_size"] == 224
    assert round(entry["parameters"] / 1e6) == 151


def test_a_table_for_people(run: Run) -> None:
    lines = run("models", "ViT-B-32/").out.splitlines()
    assert lines[0].split() == ["name", "million", "parameters", "pixels", "ImageNet", "here"]
    assert {line.count("\t") for line in lines} == {4}
    assert any("ViT-B-32/openai" in line and "63.3%" in line for line in lines)


def test_here_lists_only_what_is_here(run: Run) -> None:
    outcome = run("models", "--here", "--json")
    assert all(json.loads(line)["path"] for line in outcome.out.splitlines())


def test_no_fitting_model_is_status_1(run: Run) -> None:
    outcome = run("models", "no-such-model")
    assert (outcome.status, outcome.out) == (1, "")
    assert "no model fits" in outcome.err


def test_fetching_without_a_network_is_one_sentence(run: Run) -> None:
    outcome = run("fetch", "ViT-B-32/laion2b_s34b_b79k")
    assert outcome.status == 2
    assert outcome.out == ""
    assert outcome.err.count("\n") == 1
    assert "ViT-B-32/laion2b_s34b_b79k" in outcome.err


def test_fetching_what_is_here_prints_where_it_lies(run: Run) -> None:
    outcome = run("fetch", "starter")
    assert outcome.status == 0
    assert outcome.out.splitlines()[-1].endswith("open_clip_model.safetensors")


def test_fetching_an_unknown_model_names_near_ones(run: Run) -> None:
    outcome = run("fetch", "ViT-B-23/openai")
    assert outcome.status == 2
    assert "ViT-B-32" in outcome.err


def test_four_models_to_begin_with_come_first(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path))
    monkeypatch.setattr(models, "matrix_speed", lambda: 115.0)
    outcome = run("models")
    _, small, balanced, best, multilingual, blank = outcome.err.splitlines()
    assert blank == ""
    # 115 / 11.5 GFLOPs of open_clip's docs/model_profile.csv; 151 288 833 x 4 bytes.
    assert "  clipkit fetch ViT-B-32-256/datacomp_s34b_b86k  " in small
    assert small.endswith("  72.8%, 0.6 GB, MIT, about 10 images/s")
    assert "  clipkit fetch ViT-B-16-SigLIP2/webli " in balanced
    assert "78.2%, 1.5 GB, Apache-2.0, about 3.2 images/s" in balanced
    assert "84.1%, 4.5 GB, Apache-2.0, about 0.22 images/s" in best
    assert multilingual.split()[0] == "multilingual"
    assert outcome.out.startswith("name\t")  # the table alone is what a pipe gets
    assert run("models", "siglip2").err == run("models", "--here").err == ""


def test_recommended_models_are_in_the_tables(run: Run) -> None:
    objects = [json.loads(line) for line in run("models", "--json").out.splitlines()]
    recommended = {item["recommended_for"]: item for item in objects if item["recommended_for"]}
    assert set(recommended) == {"small", "balanced", "best", "multilingual"}
    for item in recommended.values():
        assert item["imagenet_top1"]
        assert item["parameters"]
        assert item["license"] in ("MIT", "Apache-2.0")
    ranked = [recommended[purpose] for purpose in ("small", "balanced", "best")]
    for key in ("imagenet_top1", "image_gflops", "parameters"):
        values = [item[key] for item in ranked]
        assert values == sorted(values)


@pytest.mark.slow
def test_gflops_are_those_that_torch_counts() -> None:
    import open_clip
    import torch
    from open_clip.model import _build_vision_tower
    from torch.utils.flop_counter import FlopCounterMode

    for entry in recommended_models():
        config = open_clip.get_model_config(entry.name.partition("/")[0])
        with torch.device("meta"):  # shapes without numbers
            tower = _build_vision_tower(config["embed_dim"], config["vision_cfg"]).eval()
            side = config["vision_cfg"]["image_size"]
            with FlopCounterMode(display=False) as counter:
                tower(torch.empty(1, 3, side, side))
        assert counter.get_total_flops() / 1e9 == pytest.approx(entry.image_gflops, abs=0.01)


@pytest.mark.slow
def test_models_are_listed_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'open_clip', 'timm', 'transformers'): sys.modules[name] = None\n"
        "from clipkit.cli.main import main\n"
        "sys.exit(main(['models']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "CLIPKIT_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert done.stderr.count("clipkit fetch ") == 4
    assert "ViT-B-32/openai" in done.stdout
    # What was measured is remembered.
    assert len(list((tmp_path / "cache" / "trials").iterdir())) == 1


def test_the_machine_is_measured_by_what_it_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial("float32", {"float32": 0.5})
    monkeypatch.setattr(machine, "choose_fastest", lambda candidates, **_: trial)
    # 1576 x 768 x 3072 multiplications and additions in half a second.
    assert machine.matrix_speed() == pytest.approx(2 * 1576 * 768 * 3072 / 0.5 / 1e9)


def test_a_near_name_is_found_though_it_is_short(run: Run) -> None:
    assert "near it: starter" in run("fetch", "startr").err
    assert "ViT-B-16-SigLIP2" in run("fetch", "siglip2").err
    assert 'no model is called "nope"; "clipkit models" lists the names' in run("fetch", "nope").err
