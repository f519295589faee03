"""Learn a BERT vocabulary from texts.

Which documents are read is pipeline.py's work.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
from tokenizers import AddedToken, BertWordPieceTokenizer, Regex
from tokenizers.pre_tokenizers import Sequence as PreTokenizers
from tokenizers.pre_tokenizers import Split

from electra_cli.data.bert_tokenizer import SPECIAL_TOKENS, BertTokenizer
from electra_cli.data.tokenizer import Tokenizer
from electra_cli.preparing.chunks import CHUNK_CHARS, cut_text, group_texts

MAX_WORD_CHARS = 100  # BERT's: a longer "word" is one [UNK]
MIN_FREQUENCY = 2  # a piece seen once says nothing about the language
# A character gets a piece of its own if it occurs once in (this many times the vocabulary)
# characters: all of ASCII and Chinese at 30,522 pieces, no stray symbols at 1,024.
RARE_CHARACTER_FACTOR = 100

_NUM_CODE_POINTS = 0x110000


def sample_texts(documents: Iterable[str], max_chars: int) -> list[str]:
    """Pieces spread evenly over the documents, with at most `max_chars` characters together.

    Takes every n-th piece; when they become too many, n doubles.
    """
    kept: list[str] = []
    size, every = 0, 1
    for index, piece in enumerate(chain.from_iterable(map(cut_text, documents))):
        if index % every:
            continue
        kept.append(piece)
        size += len(piece)
        while size > max_chars:
            kept = kept[::2]
            size = sum(map(len, kept))
            every *= 2
    return kept


def train_tokenizer(
    texts: Sequence[str],
    vocab_size: int,
    cased: bool,
    strip_accents: bool | None = None,
    min_frequency: int = MIN_FREQUENCY,
) -> Tokenizer:
    """A BERT tokenizer with at most `vocab_size` word pieces learned from `texts`.

    `min_frequency`: how often a piece of several characters must occur in them.

    The same texts give the same vocabulary, whatever the number of threads. The special tokens
    have ids 0 to 4, characters follow, then longer pieces by the order in which they were merged.
    """
    learner = BertWordPieceTokenizer(lowercase=not cased, strip_accents=strip_accents)
    alphabet, continuing = _choose_alphabet(texts, learner, vocab_size)
    # The trainer numbers "##x" in the order of a randomly seeded hash table and breaks ties
    # between merges by these numbers. Naming every one-character piece beforehand fixes them.
    named: list[str | AddedToken] = [*SPECIAL_TOKENS, *alphabet]
    named += [f"##{character}" for character in continuing]
    # A longer word is [UNK] to the tokenizer, so it teaches nothing; and learning takes minutes
    # where all the text is one "word", such as a genome.
    too_long = Split(Regex(rf"^.{{{MAX_WORD_CHARS + 1},}}$"), behavior="removed")
    learner.pre_tokenizer = PreTokenizers([learner.pre_tokenizer, too_long])
    learner.train_from_iterator(
        iter(texts),
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=named,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    return BertTokenizer(learner.get_vocab(), cased, strip_accents)


def _choose_alphabet(
    texts: Iterable[str], engine: BertWordPieceTokenizer, vocab_size: int
) -> tuple[list[str], list[str]]:
    """The characters worth a piece, and those of them worth a "##" piece too; both sorted.

    Counts the characters of the raw text, and normalises each distinct one once. That is hundreds
    of times faster than normalising the whole text.
    """
    raw_count = np.zeros(_NUM_CODE_POINTS, dtype=np.int64)
    joins = np.zeros(_NUM_CODE_POINTS, dtype=np.bool_)  # is in one word with its neighbours
    known = np.zeros(_NUM_CODE_POINTS, dtype=np.bool_)
    continues = np.zeros(_NUM_CODE_POINTS, dtype=np.bool_)  # seen after the start of a word
    becomes: dict[int, str] = {}
    for group in group_texts(texts, CHUNK_CHARS):
        points = np.frombuffer("\n".join(group).encode("utf-32-le"), dtype=np.uint32)
        raw_count += np.bincount(points, minlength=_NUM_CODE_POINTS)
        for point in np.flatnonzero((raw_count > 0) & ~known).tolist():
            # The neighbours show whether the character joins, stands apart, or vanishes.
            normal = engine.normalizer.normalize_str(f"a{chr(point)}a")
            words = [word for word, _ in engine.pre_tokenizer.pre_tokenize_str(normal)]
            becomes[point] = "".join(words)[1:-1]
            joins[point] = len(words) == 1
            known[point] = True
        inside = joins[points]
        continues[points[1:][inside[1:] & inside[:-1]]] = True

    count: Counter[str] = Counter()
    continuing: set[str] = set()
    for point, characters in becomes.items():
        for index, character in enumerate(characters):
            count[character] += int(raw_count[point])
            if joins[point] and (index > 0 or continues[point]):
                continuing.add(character)

    total = count.total()
    room = (vocab_size - len(SPECIAL_TOKENS)) // 2  # the other half is for longer pieces
    alphabet: list[str] = []
    for character, occurrences in sorted(count.items(), key=lambda item: (-item[1], item[0])):
        room -= 2 if character in continuing else 1
        if room < 0 or occurrences * RARE_CHARACTER_FACTOR * vocab_size < total:
            break
        alphabet.append(character)
    return sorted(alphabet), sorted(continuing.intersection(alphabet))
