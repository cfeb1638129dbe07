"""Words that guards and features must know, English unless a name says otherwise. Plain data."""

import re


def words(text: str) -> frozenset[str]:
    """Return the words of *text*."""
    return frozenset(text.split())


def in_order(text: str) -> list[str]:
    """Return the words of *text* as they come."""
    return text.split()


def groups(text: str) -> dict[str, str]:
    """Return each word of a line → the line's first word."""
    lines = [line.split() for line in text.strip().splitlines()]
    return {word: line[0] for line in lines for word in line}


STOP_WORDS = words("""
    a an the this that these those some any every each such
    i me my mine myself we us our ours ourselves you your yours yourself he him his she her hers it its itself
    they them their theirs themselves one ones someone anyone everyone somebody anybody everybody something anything
    am is are was were be been being do does did doing done have has had having can could will would shall should
    may might must get gets got getting
    and or but if then so as than because while though although
    of in on at to from by for with about into onto over under between through during against toward towards via per
    up down out off
    what which who whom whose when where why how whether
    there here just also too very really actually quite please kindly hi hello hey thanks thank dear ok okay well
    let lets tell explain know want need like
""")
"""Words that carry little of what a question is about. Negators and words of opposites are not among them."""

PRONOUNS = {
    **dict.fromkeys(("i", "me", "my", "mine", "myself", "we", "us", "our", "ours", "ourselves"), "i"),
    **dict.fromkeys(("you", "your", "yours", "yourself"), "you"),
    **dict.fromkeys(("he", "him", "his", "himself"), "he"),
    **dict.fromkeys(("she", "her", "hers", "herself"), "she"),
    **dict.fromkeys(("someone", "somebody", "anyone", "anybody"), "someone"),
    **dict.fromkeys(("they", "them", "their", "theirs", "themselves"), "they"),
}
"""Who is spoken of."""

RELATIVES = words("""
    husband wife boyfriend girlfriend partner spouse mother mom mum father dad parents son daughter brother sister child
    children kid kids baby uncle aunt cousin nephew niece friend friends neighbour neighbor roommate colleague coworker
""")
"""Who is named by what they are to somebody, and only so."""
PEOPLE = RELATIVES | words("boss employer employee landlord tenant teacher student client customer")
"""Who is spoken of by name of what they are to somebody."""

CONTRACTIONS = {
    "can't": "can not", "cannot": "can not", "cant": "can not", "won't": "will not", "wont": "will not",
    "shan't": "shall not", "ain't": "is not", "dont": "do not", "doesnt": "does not", "didnt": "did not",
    "isnt": "is not", "arent": "are not", "wasnt": "was not", "werent": "were not", "couldnt": "could not",
    "wouldnt": "would not", "shouldnt": "should not", "hasnt": "has not", "havent": "have not", "hadnt": "had not",
    "whats": "what is", "hows": "how is", "wheres": "where is", "whos": "who is", "im": "i am", "ive": "i have",
    "let's": "let us", "i'm": "i am", "thats": "that is",
}  # fmt: skip
"""Short forms that the endings below do not cover, and those typed without their apostrophe."""

ENDINGS = {"n't": " not", "'re": " are", "'ve": " have", "'ll": " will", "'d": " would", "'m": " am"}
VERBAL_S = words("what how who where when why it he she that there here")
"""Words after which 's is "is"; after all others it is a possessive and dropped."""

NEGATORS = words("not no non never without nobody nothing none neither nor nowhere hardly")
OTHER_NEGATORS = words("""
    nicht kein keine keinen keinem keiner keines nichts nie niemals niemand ohne
    pas jamais sans aucun aucune não nem sem nunca jamás ningún ninguna senza nessun nessuna
""")
"""Of German, French, Portuguese, Spanish and Italian, but for those that are English words, too."""
IMPLICIT_NEGATORS = words("""
    unable fail fails failed failing failure refuse refuses refused decline declines declined reject rejects rejected
    deny denies denied impossible lack lacks lacking missing forbid forbidden prevent prevents prevented prohibited
    avoid avoids avoided avoiding preventing denying refusing excused exempt exempted exempts exemption waive waived
    stop stops stopped stopping wrong illegal invalid unavailable broken trouble problem problems issue issues
    instead other except unless lost lose loses losing gone forgot forget forgotten absent empty blank free skip ignore
    exclude excluding excluded excludes disable disabled off remove removed rather error errors crash crashes crashing
    stuck freeze freezes frozen down dead expired vanished disappeared blank zero neglect hardly barely cancel cancelled
""")
"""Words in which a negation may hide: they may, but need not, stand for one in the other text."""

JOINED = {
    tuple(phrase.split()): single
    for single, phrases in {
        "usa": "united states of america/united states",
        "uk": "united kingdom/great britain",
        "nyc": "new york city/new york",
        "uae": "united arab emirates",
        "eu": "european union",
        "un": "united nations",
        "login": "log in/sign in/logging in/signing in/logged in/signed in",
        "logout": "log out/sign out/log off/logging out/signing out",
        "signup": "sign up/signing up/signed up",
        "setup": "set up/setting up",
        "email": "e mail",
        "wifi": "wi fi",
        "tv": "t v",
        "2fa": "2 fa/two factor authentication/2 factor authentication/two step verification",
        "ai": "artificial intelligence",
        "ml": "machine learning",
        "maximum": "at most",
        "minimum": "at least",
        "cancel": "call off/called off/calling off",
        "enable": "turn on/turned on/turning on/switch on/switched on/switching on",
        "disable": "turn off/turned off/turning off/switch off/switched off/switching off/shut off",
        "postpone": "put off/putting off/push back",
        "return": "give back/send back/sent back/bring back/take back/sending back/giving back",
        "remove": "take out/took out",
        "complete": "fill in/fill out/filling in/filling out/filled in/filled out",
        "submit": "hand in/turn in/send in",
        "repay": "pay back/paying back",
        "undo": "roll back/rolling back/rolled back",
        "happen": "take place/takes place/taking place/took place",
        "tolerate": "put up with",
        "examine": "look into/look over",
        "exercise": "work out/working out",
        "accelerate": "speed up/speeding up",
        "reject": "turn down/turned down/turning down",
        "erase": "wipe out",
        "discover": "find out/found out/finding out/figure out",
    }.items()
    for phrase in phrases.split("/")
}
"""Phrases that are one word when written otherwise."""

COURTESIES = re.compile(
    r"""^(?:(?:hi|hello|hey|dear|good\ (?:morning|afternoon|evening))(?:\ (?:there|all|team|everyone|guys))?[,.!\s]+
    |(?:(?:can|could|would|will)\ (?:you|u|anyone|anybody|someone|somebody)\ (?:please\ |kindly\ )?
        |please\ |pls\ |kindly\ )
        (?:tell|show|explain|help|inform|advise|let)\ (?:(?:to\ )?me|us)(?:\ (?:know|understand|out))?[,:\s]+
    |(?:i(?:\ would|'d)\ like|i\ want|i\ need|i\ am\ trying|i'm\ trying|i\ wish)\ to
        \ (?:know|find\ out|understand|learn)\s
    |i(?:\ was|\ am|'m)?\ (?:wonder(?:ing)?|curious)[,\s]+
    |(?:do|does)\ (?:you|anyone|anybody|someone)\ know\s
    |(?:quick\ question|question|excuse\ me|sorry|please|so|well|ok|okay|also|btw)[,:.\s]+)+
    |(?:[,.!?\s]+(?:please|pls|thanks|thank\ you|thx|cheers|many\ thanks)
        (?:\ (?:in\ advance|a\ lot|very\ much|so\ much))?)+[.!?\s]*$""",
    re.IGNORECASE | re.VERBOSE,
)
"""What politeness puts before and after a question."""

ROLES = groups("""
    from since
    to into onto towards toward till until
    by via
    than
    before
    after
    of
    in inside within
    on upon
    outside
    during while
    at
    for
    with
    without
    about regarding concerning
    between
    over above
    under below beneath
    against
    through across
    off
    as
    like
    per
""") | {"从": "from", "自": "from", "到": "to", "至": "to", "往": "to", "给": "to", "比": "than", "被": "by"}
"""Prepositions, each under the first of its kin: the role that what follows them has."""

DIRECTED_ROLES = words("from to by than before after over under against without")
"""Roles in which a name that the other question lacks decides."""
TIMED_ROLES = words("before after during")
OPPOSED_ROLES = [
    words(line)
    for line in (
        "from to",
        "before after during",
        "over under",
        "with without",
        "for against",
        "in outside",
        "on off",
    )
]
"""Roles of which one never stands for another."""

SPELLED = words("aws css dns gps https ios rss sms tls")
"""Whose last letter is no ending."""
QUANTIFIERS = words(
    "all every each any some only both one most least always never often sometimes several many few"
)
FIRSTS = words("earliest oldest initial initially original originally top")
"""Words that say of something that it was first."""
NOUNS_IN_ING = words("morning evening building ceiling pudding clothing earring wedding railing shilling")
"""Words in -ing that say nothing of what is done."""
COORDINATORS = words("and or vs versus & / ,")
FLOATING = words("""
    online fast best better most more all still even again together first now today currently ever only alone once
    actually often sometimes always usually much many
""")
"""Words that move about a sentence without changing whom they speak of; so do those that end in -ly."""
TITLES = words("mr mrs ms dr prof sir president prime minister pm ceo king queen saint st")
DETERMINERS = words("a an the this that these those my your his her its our their some any")

HAN_NEGATORS = ("不", "没", "无法", "未", "别", "勿", "非")

WH_WORDS = {
    "who": "who", "whom": "who", "whose": "who", "when": "when", "where": "where", "why": "why", "how": "how",
    "what": "what", "which": "what", "whats": "what",
}  # fmt: skip
MEASURES = {
    "many": "many", "much": "much", "long": "long", "far": "far", "often": "often", "old": "old", "tall": "tall",
    "big": "big", "fast": "fast", "deep": "deep", "high": "tall", "heavy": "heavy",
}  # fmt: skip
"""What `how` may measure."""

LANGUAGE_NAMES = words("""
    english french german spanish italian portuguese dutch russian polish czech turkish arabic hebrew hindi urdu
    bengali tamil telugu marathi gujarati punjabi kannada malayalam chinese mandarin cantonese japanese korean
    vietnamese thai indonesian malay greek latin swedish norwegian danish finnish hungarian romanian ukrainian
    persian farsi swahili
""")

SAME_WORD = groups("""
    france french
    spain spanish
    germany german germans
    china chinese
    greece greek
    poland polish
    sweden swedish
    denmark danish
    turkey turkish
    switzerland swiss
    ireland irish
    scotland scottish
    netherlands dutch
    usa u.s. u.s.a. u.s.a america american americans
    uk u.k. u.k britain british
    uae u.a.e.
    eu e.u.
    un u.n.
    tv television
    phone telephone
    photo photograph
    info information
    app application
    ad advertisement advert
    exam examination
    bike bicycle
    maths math mathematics
    movie film
    color colour
    organization organisation
    ok okay
    vs versus
    pros advantages benefits
    cons disadvantages drawbacks
    favorite favourite
    center centre
    program programme
    license licence
    cancel cancelling canceling
    email mail e-mail
    picture pic pics
    number numbers
    mobile cellphone cell
    begin start
    purchase buy
    allow permit
    parcel package
    vegetarian veggie
    kid child children
    doctor physician
    lawyer attorney
    fridge refrigerator
    sofa couch
    holiday vacation
    petrol gasoline
    delete erase
    shorten shorter
    lengthen longer
    simplify simpler
    strengthen stronger
    weaken weaker
    widen wider
    tighten tighter
    soften softer
    brighten brighter
    darken darker
    enlarge larger bigger
    2fa mfa tfa
    crash accident
    integer int ints integers
    dictionary dict dicts
    configuration config
    document doc docs
    repository repo repos
    database db
    temperature temp
    government govt
    university uni
    apartment flat
    lab laboratory
    gym gymnasium
    approximately approx
    distribution distro distros
    injury injuries injured injure hurt
""")
"""Words for the same thing, and spellings of the same word, under one of them."""

PLACES = words("""
    africa argentina asia bolivia chad chile china eu europe geneva georgia jordan kerala kyiv morocco nyc ottawa
    phoenix pune rajasthan rome shanghai shenzhen turkey uae uk usa vietnam
""")
"""Places that people also write without a capital; the thesaurus knows them as something else, too, or not at all."""
