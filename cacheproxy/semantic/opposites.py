"""Words that turn a question round when one stands where the other stood, English and some Chinese. Plain data.

A line holds two sides; any word of the one opposes any of the other, whatever their endings. What a prefix turns
round ("legal", "illegal") is not listed: `opposed` knows prefixes.
"""

from functools import lru_cache

from cacheproxy.semantic.thesaurus import thesaurus
from cacheproxy.semantic.words import Word, stem

TURNED_ROUND = """
buy bought purchase | sell sold sale
increase raise gain grow grew expand | decrease reduce lower lose lost shrink cut
rise rose | fell drop
before | after
open | close closed shut
start started begin began begun | stop end ended finish quit
enable activate | disable deactivate
upload | download
encrypt encryption encode | decrypt decryption decode
import | export
install | uninstall remove removal
add added insert | remove delete subtract
create | delete destroy
best better good greatest top | worst worse bad poorest
most | least fewest
more over above exceed | less fewer under below
maximum max maximize maximise maximal highest largest biggest | minimum min minimize minimise minimal lowest smallest
high higher highest | low lower lowest
big bigger biggest large larger largest | small smaller smallest tiny
long longer longest | short shorter shortest
fast faster fastest quick quicker quickest | slow slower slowest
hot hotter hottest warm warmer | cold colder coldest cool cooler
heat | cool
tight tighten | loose loosen
thick thicker | thin thinner
wide wider | narrow narrower
strong stronger strongest | weak weaker weakest
full | empty
full fulltime | part parttime
wet | dry
light lighter lightest | heavy heavier heaviest dark darker darkest
deep deeper | shallow
first earliest | last latest recent newest
early earlier earliest | late later latest
old older oldest | new newer newest young younger youngest
cheap cheaper cheapest | expensive costly
true right correct | false wrong incorrect
safe | dangerous
allow permit | forbid forbidden ban block prohibit
accept approve | reject refuse decline
send sent | receive
lend lent | borrow
give gave given | receive
teach taught | learn
in into | out
on | off
clockwise | counterclockwise
come came | go went
love like | hate dislike
win won winner | lose lost loser
push | pull
input | output
male man men boy | female woman women girl
husband boyfriend | wife wives girlfriend
father dad son brother uncle king | mother mom mum daughter sister aunt queen
advantage benefit pros pro | disadvantage drawback cons con risk
positive | negative
left | right
up above over | down below under
north northern | south southern
east eastern | west western
inside indoor interior internal | outside outdoor exterior external
arrive arrival | depart departure leave left
income revenue | expense
profit | loss
credit | debit
deposit | withdraw withdrawal withdrew
follow | unfollow
login | logout
join joined enter | leave left exit
hide hidden | show shown
freeze froze frozen | thaw melt
ascend ascending | descend descending
public | private
horizontal | vertical
backward backup | forward restore
wholesale | retail
day daytime | night nighttime
morning | evening
summer | winter
spring | autumn
sunrise | sunset
alive living live life | dead death
birth | death
strength | weakness
rich richer richest | poor poorer poorest
easy easier easiest easily | hard harder hardest difficult
simple | complex complicated
happy happiness | sad sadness
hire | fire
employer | employee
teacher | student
buyer customer | seller
landlord | tenant
parent | child children kid
ancestor | descendant
question | answer
same identical | different
cause | effect cure treatment
include | exclude
import | export
always | sometimes rarely never
often | rarely seldom
often always | never
he him his | she her hers
black | white
vegetarian vegan | meat
single | married multiple
temporary temporarily | permanent permanently
manual manually | automatic automatically
online | offline
required mandatory | optional
even | odd
ancient | modern
major | minor
majority | minority
attack | defend defense defence
success succeed | failure fail
save | spend spent
hardware | software
inhale | exhale
gain | loss
entrance | exit
front | back rear
top | bottom
plus | minus
multiply | divide
merge join combine | split separate
expand | collapse
compress zip | decompress extract unzip
mount | unmount
attach | detach
request | response
client | server
sender | recipient receiver
sunny | rainy
friend | enemy
ally | enemy
war | peace
absorb | emit
convex | concave
acid | base alkaline
supply | demand
built build | demolish
promote | demote
freezing | boiling
monthly | yearly annually annual weekly daily
weekly | daily
all every both everything whole entire | none neither some nothing half part partial
grant award | revoke deny
approve admit | deny
assemble | dismantle
expand | contract
inflate | deflate
evaporate | condense
float | sink sank
fill filled | drain
pause | resume
pass passed | fail
produce | consume
read | write wrote written
raise lift | lower
improve | worsen
lengthen | shorten
widen | narrow
strengthen | weaken
brighten | darken
soften | harden
undo revert | redo
refund | charge
earn | spend
sleep asleep | wake awake
previous prior | next following subsequent
upper | lower
gross | net
fixed | variable
active | passive
local | remote
domestic | international foreign
primary | secondary
singular | plural
asset | liability
debtor | creditor
predecessor | successor
host | guest
predator | prey
doctor | patient
dawn | dusk
raw | cooked
fresh | frozen
sweet | sour salty
sharp | blunt dull
smooth | rough
clean | dirty
loud noisy | quiet silent
bright | dim
tall | short
near close | far
nearest closest | farthest furthest
accidentally | deliberately intentionally
landing | takeoff
paid | free
introvert | extrovert
guilty | innocent
import | export
买 | 卖
大 | 小
多 | 少
前 | 后
上 | 下
开 | 关
"""
PREFIXES = ("un", "in", "im", "il", "ir", "dis", "de", "non", "mis", "anti", "counter")
"""What turns a word round that it stands before."""
EXCHANGED = (
    ("in", "out"), ("up", "down"), ("im", "ex"), ("in", "ex"), ("in", "de"), ("en", "de"), ("over", "under"),
    ("pre", "post"), ("max", "min"), ("hyper", "hypo"), ("macro", "micro"), ("inter", "intra"), ("e", "im"),
)  # fmt: skip
"""What turns a word round where one of them takes the other's place."""
LEAST_OPPOSITE = 0.4
"""How much of two words' use must be opposite for the thesaurus to say so."""
LEAST_REST = 3
"""Letters after a prefix below which it is none."""


def _sides() -> dict[str, set[str]]:
    """Return for each stem those that oppose it."""
    found: dict[str, set[str]] = {}
    for line in TURNED_ROUND.strip().splitlines():
        left, right = (
            {stem(form) for word in side.split() for form in _forms(word)} for side in line.split("|")
        )
        for one, others in ((left, right), (right, left)):
            for each in one - others:
                found.setdefault(each, set()).update(others - one)
    return found


def _forms(word: str) -> set[str]:
    """Return *word* and what it may be compared as, or said of how something is done."""
    root = word.removesuffix("e")
    roots = {root, root + root[-1], root[:-1] + "i"} if len(root) > 2 else set()
    return {word, word + "ly"} | {each + ending for each in roots for ending in ("er", "est", "ly")}


OPPOSED = _sides()


def opposed(one: Word, other: Word) -> bool:
    """Return whether one of the words is the opposite of the other."""
    return (
        other.stem in OPPOSED.get(one.stem, ())
        or other.stem in _turned(one.text)
        or one.stem in _turned(other.text)
        or thesaurus().opposite(one.text, other.text) >= LEAST_OPPOSITE
    )


@lru_cache(maxsize=16_384)
def _turned(text: str) -> frozenset[str]:
    """Return the stems of a word without its prefix, or with the other one; of an employee, those of an employer."""
    turned = {text.removeprefix(prefix) for prefix in PREFIXES if text.startswith(prefix)}
    if text.endswith("ee"):
        turned |= {text.removesuffix("ee") + ending for ending in ("er", "or")}
    for pair in EXCHANGED:
        turned |= {new + text.removeprefix(old) for old, new in (pair, pair[::-1]) if text.startswith(old)}
    return frozenset(stem(each) for each in turned if len(each) >= LEAST_REST)
