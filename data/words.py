#!/usr/bin/env python3
"""Lists the words of words.fst with what they are: 1 an ordinary word, 2 part of a person's name. For `convizit-bench lexicon`.

    pip install wordfreq==3.1.1 faker==40.63.0
    data/words.py | cargo run --release -p convizit-bench -- lexicon > data/words.fst

Ordinary are the most frequent words of some forty languages that are nobody's name, and those of rules/ordinary.txt.
"""
import glob
import gzip
import importlib
import os
import pkgutil
import unicodedata

import faker.providers.person
import msgpack
import regex
import wordfreq

# Words of a language: with these 96.5 % of interface texts in 90 languages are known, with four times as many 97.4 %.
WORDS = 5000
LETTERS = regex.compile(r"[\p{L}\p{M}'’]+")


def fold(word):
    return unicodedata.normalize("NFKC", word).lower()


def frequent(path):
    """A list of wordfreq: words in bins of falling frequency."""
    words = [word for group in msgpack.load(gzip.open(path), raw=False)[1:] for word in group]
    return words[:WORDS]


def tokens(value):
    if isinstance(value, str):
        yield from (fold(token) for token in LETTERS.findall(value))
    elif isinstance(value, dict):
        for name in value:
            yield from tokens(name)
    elif isinstance(value, (list, tuple, set)):
        for name in value:
            yield from tokens(name)


def people():
    names = set()
    place = faker.providers.person.__path__
    for module in pkgutil.walk_packages(place, "faker.providers.person."):
        provider = getattr(importlib.import_module(module.name), "Provider", None)
        for key in dir(provider):
            if regex.search("first_names|last_names|middle_names|_names", key):
                names.update(tokens(getattr(provider, key)))
    return names


here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "../rules/ordinary.txt"), encoding="utf-8") as file:
    ours = {word for line in file if not line.startswith("#") for word in line.split()}
names = {name for name in people() if name not in ours}
words = set(ours)
for path in sorted(glob.glob(os.path.join(os.path.dirname(wordfreq.__file__), "data/small_*.msgpack.gz"))):
    words.update(word for word in map(fold, frequent(path)) if len(word) > 1 and LETTERS.fullmatch(word))
found = {word: 1 for word in words - names} | {name: 2 for name in names}
for word in sorted(found, key=lambda word: word.encode()):
    print(f"{word}\t{found[word]}")
