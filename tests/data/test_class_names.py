import json
from pathlib import Path

import pytest

from clipkit.data.class_names import odd_names, read_class_names, words_of
from clipkit.errors import InputError


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        # Caltech-UCSD Birds, Stanford Dogs, and a list that somebody counted.
        (["001.Black_footed_Albatross", "200.Ovenbird"], "Black footed Albatross|Ovenbird"),
        (["n02085620-Chihuahua", "n02085782-Japanese_spaniel"], "Chihuahua|Japanese spaniel"),
        (["tench_n01440764", "goldfish_n01443537"], "tench|goldfish"),
        (["0-cat", "1-dog", "10-bird"], "cat|dog|bird"),
        (["01_cat", "17_dog"], "cat|dog"),
        (["1. cat", "2. dog"], "cat|dog"),
        (["12-cat"], "12 cat"),  # one alone may be a name
        (["001.cat"], "cat"),
        # Numbers that belong to a name, and folders that only some have counted.
        (["747", "777"], "747|777"),
        (["3d printer", "2CV"], "3d printer|2CV"),
        (["3d_printer", "inkjet_printer"], "3d printer|inkjet printer"),
        (["2-door", "4-door"], "2 door|4 door"),
        (["2-door_car", "4-wheel_drive"], "2 door car|4 wheel drive"),
        (["1-cat", "1-dog"], "1 cat|1 dog"),
        (["01_cat", "02_cat"], "01 cat|02 cat"),
        (["001.cat", "dog"], "001.cat|dog"),
        (["cat_1", "cat_2"], "cat 1|cat 2"),
        (["1.5_l_bottle", "2.5_l_bottle"], "1.5 l bottle|2.5 l bottle"),
        (["Boeing_747-400"], "Boeing 747 400"),
        (["n01440764", "n01443537"], "n01440764|n01443537"),
        (["caf\udce9__noir", "_", "猫"], "caf\ufffd noir|_|猫"),
        ([], ""),
    ],
)
def test_folders_names_become_words(folders: list[str], names: str) -> None:
    assert "|".join(words_of(folders)) == names


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["n01440764", "cat"], "1 of 2 class names are numbers of WordNet"),
        (["7", "8", "class 3", "Label 12"], "4 of 4 class names are only numbers"),
        (["images", "cat", "val"], "2 of 3 class names name a kind of files, or a part"),
        (["cat", "3d printer", "2CV", "train", "test tube", "labelled box"], ""),
    ],
)
def test_names_that_say_nothing_are_warned_of(names: list[str], said: str) -> None:
    told = list(odd_names(names))
    assert len(told) == bool(said)
    assert all(line.startswith(said) for line in told)


FOLDERS = ["n01440764", "n01443537"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", {"n01440764": "tench", "n01443537": "great_white shark"}),
        ("a.json", {"n1": "more", "n01440764": "tench", "n01443537": "great white shark"}),
        ("a.json", ["tench", "great white shark"]),
        # Keras' imagenet_class_index.json; Hugging Face's id2label and label2id.
        ("a.json", {"0": ["n01440764", "tench"], "2": ["n01443537", "great_white_shark"]}),
        ("a.json", {"0": "tench", "1": "great white shark"}),
        ("a.json", {"tench": 0, "great white shark": 1}),
        ("a.csv", "n01440764,tench\nn01443537,great white shark\n"),
        ("a.csv", 'folder,name\nn01440764,"tench, a fish"\nn01443537,great white shark\n'),
        ("a.tsv", "n01440764\ttench\nn01443537\tgreat white shark\n"),
        # ImageNet's LOC_synset_mapping.txt: sets of synonyms.
        ("a.txt", "n01440764 tench, Tinca tinca\nn01443537 great white shark, white shark\n"),
        ("a.txt", "\ufefftench\r\n\r\n# sharks\r\ngreat_white_shark\r\n"),
        ("a.txt", "tench\ngreat white shark\n"),
    ],
)
def test_a_file_gives_names_by_folder_or_in_their_order(
    tmp_path: Path, name: str, content: object
) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / name).write_text(text, encoding="utf-8")
    names = read_class_names(tmp_path / name)
    assert names.of_folders(FOLDERS) == ("tench", "great white shark")


def test_names_of_two_words_are_no_folders_and_names(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\ndog house\n")
    assert read_class_names(tmp_path / "names.txt").of_folders(["cat", "dog"]) == (
        "cat",
        "dog house",
    )
    # Names that a person wrote are taken as they stand.
    (tmp_path / "names.txt").write_text("T-shirt\n2-door car\n")
    names = read_class_names(tmp_path / "names.txt").of_folders(["a", "b"])
    assert names == ("T-shirt", "2-door car")


@pytest.mark.parametrize(
    ("content", "keys", "names"),
    [
        ("cat\ndog\n", ["0", "1", " 1\n"], ["cat", "dog", "dog"]),
        ("1 001.cat\n2 002.dog\n", ["1", "2"], ["001.cat", "002.dog"]),
        ("0,cat\n7,dog\n", ["7"], ["dog"]),
    ],
)
def test_numbers_of_classes_have_names(
    tmp_path: Path, content: str, keys: list[str], names: list[str]
) -> None:
    (tmp_path / "names.txt").write_text(content)
    found = read_class_names(tmp_path / "names.txt")
    assert [found.of_number(key) for key in keys] == names
    with pytest.raises(ValueError, match=r"holds '9', which .*names\.txt has no name for"):
        found.of_number("9")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"cat\n", r"has 1 names, and there are 2 class folders \(n01440764; n01443537\)"),
        ("a.json", b'{"n01440764": "tench"}', "no name for 1 of 2 class folders: n01443537$"),
        ("a.json", b'{"a": "tench"}', "has 1 names, and there are 2 class folders"),
        ("a.json", b"{", r"is no file of class names, which is a JSON object \{folder: name\}"),
        ("a.json", b'{"a": ["tench"]}', r"a has the name \['tench'\]$"),
        ("a.json", b"7", "it holds 7$"),
        ("a.txt", b"caf\xe9", "is not UTF-8$"),
        ("a.txt", b" \n", "it is empty$"),
    ],
)
def test_a_file_that_does_not_fit_is_told(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_class_names(tmp_path / name).of_folders(FOLDERS)


def test_a_line_without_an_end_is_a_name(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("x" * 200_000 + ',"\ndog\0\n')
    names = read_class_names(tmp_path / "names.txt").of_folders(FOLDERS)
    assert [len(name) for name in names] == [200_002, 4]


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"names\.txt cannot be read: No such file"):
        read_class_names(tmp_path / "names.txt")
