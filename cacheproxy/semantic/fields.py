"""Words that name one of several things of a kind, so that one never stands for another. Plain data.

A line is a kind; words joined by a stroke are the same thing. What is in no line is left to the score. People who
have to do with each other, as landlord and tenant, are in none: a question may be asked from either's side.
"""

from cacheproxy.semantic.thesaurus import thesaurus
from cacheproxy.semantic.words import Word, stem

CONCRETE = frozenset({5, 8, 13, 15, 20, 27})
"""WordNet's files of animals, bodies, food, places, plants and substances, which do not stand for each other."""
LEAST_SHARE = 0.5
"""Of a word's use that must be meant so for a guard to go by it."""
LEAST_SAME = 0.2
"""How much of it must be the same thing for them to be no two things."""

KINDS = """
red blue green yellow orange purple/violet pink brown black white grey/gray
spring summer autumn/fall winter
breakfast lunch dinner/supper brunch
morning noon/midday afternoon evening
baby/babies/infant/newborn/toddler child/children/kid teenager/teen/adolescent adult/grown-up senior/elderly/pensioner
mother/mom/mum father/dad son daughter brother sister wife/wives husband uncle aunt cousin nephew niece
mother/mom/mum father/dad grandmother/grandma grandfather/grandpa
doctor/physician nurse patient dentist lawyer/attorney accountant
dog/puppy cat/kitten horse cow pig sheep goat chicken/hen duck rabbit hamster parrot fish snake
beef pork lamb chicken turkey fish tofu
apple banana pear peach mango grape lemon lime strawberry
rice pasta bread potato oat quinoa lentil bean
coffee tea beer wine juice milk
gold silver copper iron steel aluminium/aluminum
wood/wooden metal plastic glass leather cotton wool silk linen
car/automobile motorcycle/motorbike bicycle/bike bus train plane/airplane/flight ship/boat/ferry truck/lorry
phone/smartphone/mobile/cellphone laptop/notebook tablet television/tv printer router
windows mac/macos/osx linux android ios/iphone
ubuntu debian fedora arch centos
chrome firefox safari edge
python java javascript typescript ruby perl php rust golang kotlin swift scala haskell
mysql postgresql/postgres sqlite mongodb redis oracle mariadb
excel word powerpoint outlook
csv json xml yaml pdf docx html markdown
table/tabular bullet/bullets paragraph/prose json csv/comma-separated chart/graph/diagram
summary critique translation
haiku sonnet limerick essay poem
jpg/jpeg png gif svg
aws azure gcp heroku
facebook/fb instagram/insta twitter whatsapp telegram linkedin tiktok snapchat
football/soccer basketball tennis cricket golf hockey baseball rugby
guitar piano violin drums flute
english french german spanish italian portuguese dutch russian polish turkish arabic hebrew hindi chinese japanese
mathematics/math/maths physics chemistry biology history geography economics
knee elbow shoulder wrist ankle hip neck back
kitchen bathroom bedroom garage garden
roof floor wall ceiling
celsius fahrenheit kelvin
dollar euro pound yen rupee yuan
bachelor/undergraduate master/graduate phd/doctorate
planet star moon comet asteroid
mercury venus earth mars jupiter saturn uranus neptune pluto
ibuprofen paracetamol/acetaminophen/tylenol aspirin
protein carbohydrate/carbs fat fibre/fiber sugar
north south east west
"""


def _things() -> dict[str, frozenset[str]]:
    """Return for each stem the things that it may be, as its kind's line and its place in that."""
    found: dict[str, set[str]] = {}
    for line, things in enumerate(KINDS.strip().splitlines()):
        for place, thing in enumerate(things.split()):
            for word in thing.split("/"):
                found.setdefault(stem(word), set()).add(f"{line}.{place}")
    return {word: frozenset(things) for word, things in found.items()}


THINGS = _things()


def is_concrete(word: Word) -> bool:
    """Return whether *word* mostly names an animal, food, a place or the like, by the thesaurus."""
    meaning = thesaurus().meaning(word.text)
    return meaning is not None and meaning.share(CONCRETE) >= LEAST_SHARE


def siblings(word: Word, other: Word) -> bool:
    """Return whether two concrete words name different things of a kind, by the thesaurus."""
    relation = thesaurus().relation(*sorted((word.text, other.text)))
    return relation.siblings >= LEAST_SHARE and max(relation.same, relation.near) < LEAST_SAME
