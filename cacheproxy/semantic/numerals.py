"""Words for numbers, units and dates, English and some Chinese. Plain data."""

from cacheproxy.semantic.lexicon import groups, in_order, words

ROMAN_NUMERALS = {
    numeral: str(value)
    for value, numeral in enumerate(in_order("ii iii iv v vi vii viii ix x xi xii xiii xiv xv"), 2)
    if len(numeral) > 1
}
UNITS = groups("""
    percent percents percentage %
    dollar dollars usd $ buck bucks
    euro euros eur €
    pound pounds gbp £ lb lbs quid
    rupee rupees inr rs ₹
    yen jpy ¥
    yuan rmb cny
    rouble roubles ruble rubles rub ₽
    cent cents
    km kms kilometer kilometers kilometre kilometres
    mile miles mi
    meter meters metre metres m
    cm cms centimeter centimeters centimetre centimetres
    mm millimeter millimeters millimetre millimetres
    foot feet ft
    inch inches
    yard yards
    acre acres
    hectare hectares
    kg kgs kilo kilos kilogram kilograms
    gram grams gm gms
    mg milligram milligrams
    ounce ounces oz
    ton tons tonne tonnes
    stone stones
    liter liters litre litres
    ml milliliter milliliters millilitre millilitres
    gallon gallons
    cup cups
    tablespoon tablespoons tbsp
    teaspoon teaspoons tsp
    second seconds sec secs
    ms millisecond milliseconds
    minute minutes mins
    hour hours hr hrs
    day days
    week weeks
    month months
    year years yr yrs
    decade decades
    century centuries
    celsius centigrade °c
    fahrenheit °f
    kelvin kelvins
    degree degrees °
    watt watts
    kw kilowatt kilowatts
    kwh
    volt volts
    amp amps ampere amperes
    hz hertz
    mhz megahertz
    ghz gigahertz
    byte bytes
    bit bits
    kb kilobyte kilobytes
    mb megabyte megabytes
    gb gigabyte gigabytes gigs gig
    tb terabyte terabytes
    mbps
    gbps
    kmh kph
    mph
    calorie calories kcal cal cals
    joule joules
    pixel pixels px
    sentence sentences
    paragraph paragraphs
    page pages
    千克 公斤
    公里 千米
    米
    元 块
    度
""")
"""Units of measure and money, each under one name."""

MONEY = words("dollar euro pound rupee yen yuan rouble cent 元")
DURATIONS = words("second minute hour day week month year decade century")
"""Units that also stand for times of the calendar, so that they count only beside a number."""
LENGTHS = words("sentence paragraph page")
"""Of what is written; they count only beside a number, too."""
LARGER = {
    "second": (60, "minute"), "minute": (60, "hour"), "hour": (24, "day"), "day": (7, "week"), "month": (12, "year"),
}  # fmt: skip
"""Of a unit of time, how many make which."""

SMALL_NUMBERS = {
    word: value
    for value, word in enumerate(
        in_order(
            "zero one two three four five six seven eight nine ten"
            " eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
        )
    )
} | {
    word: 10 * ten
    for ten, word in enumerate(in_order("twenty thirty forty fifty sixty seventy eighty ninety"), 2)
}
MULTIPLIERS = {
    "hundred": 100, "thousand": 1000, "k": 1000, "lakh": 100_000, "lakhs": 100_000, "lac": 100_000, "million": 10**6,
    "crore": 10**7, "crores": 10**7, "billion": 10**9, "bn": 10**9, "trillion": 10**12,
}  # fmt: skip
FRACTIONS = {
    "half": "0.5", "halves": "0.5", "quarter": "0.25", "twice": "x2", "double": "x2", "triple": "x3", "dozen": "12",
    "thrice": "x3",
}  # fmt: skip
ORDINALS = {
    word: value
    for value, word in enumerate(
        in_order("first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"), 1
    )
}
HAN_DIGITS = {digit: value for value, digit in enumerate("零一二三四五六七八九")} | {"两": 2, "〇": 0}
HAN_MULTIPLIERS = {"十": 10, "百": 100, "千": 1000, "万": 10_000, "亿": 10**8}

MONTHS = {
    name: month
    for month, names in enumerate(
        in_order(
            "january/jan february/feb march april/apr may june july august/aug september/sep/sept october/oct"
            " november/nov december/dec"
        ),
        1,
    )
    for name in names.split("/")
}
WEEKDAYS = {
    name: day
    for day, name in enumerate(in_order("monday tuesday wednesday thursday friday saturday sunday"), 1)
}
RELATIVE_DAYS = words("today tomorrow yesterday tonight now currently")
HAN_DATES = (
    "今天",
    "明天",
    "昨天",
    "后天",
    "前天",
    "今年",
    "明年",
    "去年",
    "上周",
    "下周",
    "本周",
    "上个月",
    "下个月",
    "本月",
)
