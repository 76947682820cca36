"""Guesses and names in one form, so that spelling, articles and plurals do not decide."""

import re
import unicodedata

_ARTICLES = {"a", "an", "the", "some"}

# British words that no rule below turns into American ones.
_AMERICAN = {
    "aeroplane": "airplane",
    "aluminium": "aluminum",
    "catalogue": "catalog",
    "doughnut": "donut",
    "grey": "gray",
    "jewellery": "jewelry",
    "mould": "mold",
    "moustache": "mustache",
    "pyjama": "pajama",
    "tyre": "tire",
    "waggon": "wagon",
}
_SINGULAR = {
    "cacti": "cactus",
    "calves": "calf",
    "children": "child",
    "dice": "die",
    "feet": "foot",
    "fungi": "fungus",
    "geese": "goose",
    "hooves": "hoof",
    "knives": "knife",
    "leaves": "leaf",
    "lens": "lens",
    "lenses": "lens",
    "loaves": "loaf",
    "mice": "mouse",
    "octopi": "octopus",
    "oxen": "ox",
    "scarves": "scarf",
    "shelves": "shelf",
    "teeth": "tooth",
    "wolves": "wolf",
}


def canonical(text: str) -> str:
    """Return the one form of a guess or a name; empty if it has no letter and no digit.

    Case, accents, articles in front, hyphens, spaces, plurals and British spelling make no difference:
    `The Jelly-Fishes` and `jellyfish` are the same. The result is made for comparing, not for reading.
    """
    return "".join(split_words(text))


def split_words(text: str) -> list[str]:
    """Return the words of a text in the form in which they are compared."""
    plain = unicodedata.normalize("NFKD", text).casefold().replace("&", " and ")
    letters = "".join(each for each in plain if not unicodedata.combining(each))
    words = re.findall(r"[^\W_]+", re.sub("['`\N{RIGHT SINGLE QUOTATION MARK}]", "", letters))
    while len(words) > 1 and words[0] in _ARTICLES:
        words = words[1:]
    return [_american(_singular(word)) for word in words]


def single_names(name: str) -> list[str]:
    """Return the names that stand in one class name: `tench, Tinca tinca`, `T-shirt/top`, `crane (bird)`."""
    parts = [part.strip() for part in re.split(r"[,;]", name)]
    slashed = [piece.strip() for part in parts for piece in part.split("/") if "/" in part]
    bare = [re.sub(r"\(.*?\)", "", part).strip() for part in parts if "(" in part]
    return list(dict.fromkeys(part for part in [*parts, *slashed, *bare] if canonical(part)))


def _singular(word: str) -> str:
    """Return a form that a word shares with its plural; it need not be a word: `cooky` of `cookies`."""
    if word in _SINGULAR:
        return _SINGULAR[word]
    if re.search(r"[^aou]us(es)?$", word):
        return re.sub("es$", "", word)  # walruses and buses, but not houses
    if word.endswith("men"):
        return f"{word[:-3]}man"
    stem = word[:-1] if len(word) > 3 and re.search("[^siu]s$", word) else word
    if stem.endswith("ie"):
        return f"{stem[:-2]}y"
    # The `e` of foxes, beaches, dishes, glasses, potatoes; and of axe, which is also written ax.
    return re.sub("(x|ch|sh|ss|z|o)e$", r"\1", stem)


def _american(word: str) -> str:
    if word in _AMERICAN:
        return _AMERICAN[word]
    if len(word) > 5 and word.endswith("our"):
        return f"{word[:-3]}or"
    return re.sub("plough$", "plow", re.sub("([tb])re$", r"\1er", word))
