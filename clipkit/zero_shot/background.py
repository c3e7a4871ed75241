"""Everyday words that a label is weighed against when it is scored on its own.

A softmax needs rivals. When labels are independent of each other, the rivals are these: common
things, animals, places and kinds of picture, most of which a photograph does not show.
"""

_NAMES = """
    cat; dog; bird; horse; cow; sheep; fish; insect; snake; frog; bear; monkey; elephant;
    tree; flower; grass; leaf; mushroom; fruit; vegetable; bread; cake; meat; soup; pizza;
    drink; bottle; cup; plate; bowl; spoon; knife; table; chair; sofa; bed; lamp; shelf;
    door; window; wall; floor; roof; house; church; castle; skyscraper; bridge; tower;
    street; road; railway; station; harbour; shop; kitchen; bathroom; office; classroom;
    stadium; garden; park; field; farm; forest; mountain; rock; desert; beach; sea; lake;
    river; waterfall; sky; cloud; snow; ice; fire; smoke; night; sunset; moon; star; car;
    bus; truck; train; bicycle; motorcycle; boat; ship; airplane; helicopter; rocket;
    wheel; engine; machine; tool; hammer; screw; wire; computer; keyboard; screen;
    telephone; camera; television; clock; watch; book; newspaper; letter; map; sign;
    poster; painting; statue; toy; doll; ball; balloon; musical instrument; guitar; piano;
    drum; shirt; dress; trousers; shoe; hat; glove; glasses; ring; bag; box; basket; rope;
    key; coin; candle; umbrella; flag; fence; man; woman; child; baby; face; hand; crowd;
    drawing; text; pattern; texture
"""
BACKGROUND_NAMES: tuple[str, ...] = tuple(" ".join(name.split()) for name in _NAMES.split(";"))
