"""Background words: everyday names that scores of queries and of single labels are compared with.

A cosine alone does not say whether an image matches a text. A label that is scored on its own
(multi_label) and the relevance of a search measure it by the cosines of these common things,
animals, places, people and kinds of image, most of which a photograph does not show: see
clipkit.word_evidence. The words are specific: general ones ("thing", "food") fit every image a
little and separate little.
"""

_NAMES = """
    cat; dog; wolf; fox; bear; lion; tiger; monkey; gorilla; elephant; rhinoceros; giraffe;
    zebra; camel; horse; cow; sheep; goat; pig; deer; kangaroo; rabbit; squirrel; mouse;
    hedgehog; bat; seal; whale; dolphin; shark; tropical fish; octopus; jellyfish; crab;
    lobster; snail; coral; frog; turtle; lizard; snake; crocodile; dinosaur; spider; ant; bee;
    beetle; butterfly; dragonfly; eagle; owl; parrot; pigeon; crow; sparrow; duck; goose; swan;
    chicken; penguin; ostrich; flamingo; seagull; bird's nest; tree; palm tree; rose; sunflower;
    tulip; cactus; fern; autumn leaves; mushroom; pine cone; apple; banana; orange; lemon;
    strawberry; grapes; pineapple; watermelon; tomato; potato; carrot; onion; cabbage; cucumber;
    broccoli; pumpkin; corn; nuts; bread; cake; pancakes; chocolate; ice cream; cheese; egg;
    meat; soup; salad; spaghetti; rice; pizza; hamburger; sandwich; sushi; cup of coffee; glass
    of wine; bottle of beer; plate; spoon; knife; frying pan; kettle; teapot; refrigerator;
    table; chair; sofa; bed; pillow; lamp; light bulb; candle; mirror; bathtub; toilet; washing
    machine; vacuum cleaner; broom; bucket; vase; clock; wristwatch; key; scissors; hammer; saw;
    ladder; rope; shovel; laptop; computer keyboard; computer mouse; telephone; television;
    camera; microphone; headphones; calculator; circuit board; book; newspaper; map; paint
    brush; coins; playing cards; chess; dice; doll; teddy bear; kite; balloon; guitar; violin;
    piano; drum; trumpet; flute; shirt; trousers; dress; shoe; sock; hat; helmet; glasses;
    necklace; ring; backpack; suitcase; umbrella; tent; soccer ball; basketball; baseball;
    tennis racket; skateboard; surfboard; bicycle; motorcycle; car; race car; pickup truck; bus;
    ambulance; fire engine; tractor; tank; train; sailing boat; ship; submarine; airplane;
    helicopter; rocket; parachute; traffic light; road sign; street; railway tracks; bridge;
    house; skyscraper; castle; church; temple; statue; fountain; lighthouse; windmill; barn;
    fence; staircase; door; window; kitchen; bathroom; bedroom; office; classroom; library;
    shop; restaurant; stadium; swimming pool; garden; field of wheat; meadow; forest; mountain;
    volcano; cave; desert; canyon; beach; sea waves; lake; river; waterfall; snow; ice; clouds;
    rainbow; lightning; sunset; night sky; moon; planet; fire; smoke; fireworks; man; woman;
    child; baby; crowd of people; face; hand; wedding; dancer; football player; doctor; concert;
    syringe; stethoscope; microscope; gun; cannon; sword; flag; basket; cardboard box; bottle;
    brick wall; pebbles; sand; grass; painting; drawing; graffiti; poster; handwriting; page of
    text; screenshot
"""
BACKGROUND_NAMES: tuple[str, ...] = tuple(" ".join(name.split()) for name in _NAMES.split(";"))
