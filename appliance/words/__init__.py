"""Sentences: said once by key and facts where they are made, put into words at the edge where they are shown.

What is stored and sent between processes is a `Said`: a key and typed facts. `Words` is one language; `say` gives the sentence. Facts are
escaped there, the catalogue's own words are not, so a name can hold no markup and a page needs no second look. Keys are never renamed or used
again for something else: a call record of last year still finds its sentence.

The catalogue of a language is TOML files of patterns: a folder of them beside this file (`en/calls.toml`), and what stands beside the kinds of
records (`config/kinds/NAME.en.toml`, `config/kinds/NAME/en.toml`) and in the folders of the services (`services/NAME/en.toml`). A section is in
one file alone. In a pattern `{name}` is the fact of that name, and
`{count|# phone|# phones}` chooses by the fact's number, with `#` for the number itself; how many forms there are is the language's
(`RULES`). Nothing here imports anything of the product.
"""

from appliance.words.catalogue import LANGUAGES, Explained, UnknownSentence, Words, english, printable, words_of
from appliance.words.said import Day, Duration, Fact, Instant, Listed, Person, PhoneNumber, Said

__all__ = [
    "LANGUAGES",
    "Day",
    "Duration",
    "Explained",
    "Fact",
    "Instant",
    "Listed",
    "Person",
    "PhoneNumber",
    "Said",
    "UnknownSentence",
    "Words",
    "english",
    "printable",
    "words_of",
]
