"""Train, load and fingerprint a tokenizer.

Which documents are read, and where ids are stored, is not this module's work.
transformers is loaded only for tokenizers of another kind than `electra prepare` makes.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex
from tokenizers import Tokenizer as Engine
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import Sequence as PreTokenizers
from tokenizers.pre_tokenizers import Split
from tokenizers.trainers import WordPieceTrainer

from electra_cli.data.bert_tokenizer import (
    MODEL_MAX_LENGTH,
    SPECIAL_TOKENS,
    BertTokenizer,
    bert_settings,
    open_bert_tokenizer,
)
from electra_cli.data.text_pieces import CHUNK_CHARS, cut_text, group_texts
from electra_cli.disk import as_os_error
from electra_cli.errors import DataError

# A BertTokenizer, or a fast tokenizer of transformers, which carries no types.
Tokenizer: TypeAlias = Any

HUB_TIMEOUT_SECONDS = 10.0
MAX_WORD_CHARS = 100  # BERT's: a longer "word" is one [UNK]
MIN_FREQUENCY = 2  # a piece seen once says nothing about the language
# A character earns a piece of its own by one occurrence in (this many times the vocabulary)
# characters: all of ASCII and Chinese at 30,522 pieces, no stray symbols at 1,024.
RARE_CHARACTER_FACTOR = 100

_NUM_CODE_POINTS = 0x110000


def sample_texts(documents: Iterable[str], max_chars: int) -> list[str]:
    """Pieces of the documents, evenly spread over all of them, `max_chars` or less together.

    Every n-th piece is taken; where that becomes too much, n doubles.
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


def train_tokenizer(texts: Sequence[str], vocab_size: int, cased: bool) -> Tokenizer:
    """A BERT tokenizer with at most `vocab_size` word pieces learned from `texts`.

    The same texts give the same vocabulary, whatever the number of threads. The special tokens
    have ids 0 to 4, characters follow, then longer pieces by the order in which they were merged.
    """
    settings = bert_settings(cased)
    blank = BertTokenizer({}, settings).backend_tokenizer
    alphabet, continuing = _choose_alphabet(texts, blank, vocab_size)
    # WordPieceTrainer numbers "##x" in the order of a randomly seeded hash table and breaks ties
    # between merges by these numbers. Naming every one-character piece beforehand fixes them.
    named = [*SPECIAL_TOKENS, *alphabet, *(f"##{character}" for character in continuing)]
    trainer = WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=MIN_FREQUENCY,
        special_tokens=named,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    learner = Engine(WordPiece(unk_token="[UNK]"))
    learner.normalizer = blank.normalizer
    # What no tokenizer will cut into pieces teaches none, and takes minutes where all the text is
    # one "word", such as a genome.
    too_long = Split(Regex(rf"^.{{{MAX_WORD_CHARS + 1},}}$"), behavior="removed")
    learner.pre_tokenizer = PreTokenizers([blank.pre_tokenizer, too_long])
    learner.train_from_iterator(texts, trainer)
    return BertTokenizer(learner.get_vocab(), settings)


def _choose_alphabet(
    texts: Iterable[str], engine: Engine, vocab_size: int
) -> tuple[list[str], list[str]]:
    """The characters worth a piece, and those of them worth a "##" piece too; both sorted.

    Counts the characters of the raw text and asks the engine once for each distinct one what
    becomes of it, which is hundreds of times faster than normalising everything.
    """
    raw_count = np.zeros(_NUM_CODE_POINTS, dtype=np.int64)
    joins = np.zeros(_NUM_CODE_POINTS, dtype=np.bool_)  # stays in one word with its neighbours
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


def load_tokenizer(name: str | Path) -> Tokenizer:
    """Open a tokenizer's folder, or a Hugging Face id (from the cache first, then the network).

    Raises DataError when there is none, it is damaged, or it does not suit ELECTRA.
    """
    if (bert := open_bert_tokenizer(Path(name))) is not None:
        return bert
    try:
        tokenizer = _open_with_transformers(str(name))
    # The libraries below raise OSError, ValueError, KeyError and bare Exception for what is
    # missing or damaged in a file that the user chose.
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(
            f"cannot open the tokenizer {name}: {reason}"
            if Path(name).exists()
            else f"no folder is called {name}, nor does the Hugging Face hub have it ({reason})",
            hint="give a folder with tokenizer.json and tokenizer_config.json, or the id of a "
            "tokenizer on the hub (needs the network the first time)",
        ) from error
    if not tokenizer.is_fast:
        raise DataError(
            f"the tokenizer {name} has no fast version",
            hint="save one that has a tokenizer.json, or leave out --tokenizer to train one",
        )
    roles = ("pad_token", "cls_token", "sep_token", "mask_token")
    missing = [role for role in roles if getattr(tokenizer, role) is None]
    if missing:
        raise DataError(
            f"the tokenizer {name} has no {', '.join(missing)}, which ELECTRA needs",
            hint="take one made for BERT or ELECTRA, or leave out --tokenizer to train one",
        )
    return tokenizer


def _open_with_transformers(name: str) -> Tokenizer:
    """Open it without ever running code that came with it, nor asking whether to."""
    from transformers import AutoTokenizer  # loads torch

    try:
        return AutoTokenizer.from_pretrained(name, local_files_only=True, trust_remote_code=False)
    except OSError:
        if Path(name).exists():
            raise
    from huggingface_hub import HfApi

    # Where there is no network this fails at once; from_pretrained would try for a minute.
    HfApi().model_info(name, timeout=HUB_TIMEOUT_SECONDS)
    return AutoTokenizer.from_pretrained(name, trust_remote_code=False)


def save_tokenizer(tokenizer: Tokenizer, directory: Path) -> Tokenizer:
    """Write a folder that AutoTokenizer opens, and return what it will give.

    Raises OSError, as all writing.
    """
    if tokenizer.model_max_length > MODEL_MAX_LENGTH * 1_000:  # transformers' "not known", 1e30
        tokenizer.model_max_length = MODEL_MAX_LENGTH
    try:
        tokenizer.save_pretrained(directory)
    except Exception as error:  # the engine raises a bare one
        reason = as_os_error(error)
        if reason is None:
            raise
        raise reason from error
    # A BertTokenizer comes back as it is; transformers may change one of its own on the way.
    return tokenizer if isinstance(tokenizer, BertTokenizer) else load_tokenizer(directory)


@lru_cache(maxsize=1)  # prepare asks twice, and once takes 30 ms
def fingerprint(tokenizer: Tokenizer) -> str:
    """SHA-256 of what decides the ids; the same before saving and after loading."""
    settings_of_a_call = ("padding", "truncation")
    content = {k: v for k, v in describe(tokenizer).items() if k not in settings_of_a_call}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def count_ids(tokenizer: Tokenizer) -> int:
    """V: one more than the largest id, so that a table of V rows has a place for every id."""
    return int(max(tokenizer.get_vocab().values())) + 1


def word_starts(tokenizer: Tokenizer) -> NDArray[np.bool_]:
    """[V]: True for ids that begin a word, as the tokenizer's own vocabulary marks them.

    Special tokens count as words. A vocabulary without marks is all True.
    """
    content = describe(tokenizer)
    starts = np.ones(count_ids(tokenizer), dtype=np.bool_)
    special = set(tokenizer.all_special_ids)
    prefix = content["model"].get("continuing_subword_prefix")
    mark = _word_mark(content)
    for token, index in tokenizer.get_vocab().items():
        if index in special:
            continue
        if prefix:
            starts[index] = not token.startswith(prefix)
        elif mark:
            starts[index] = token.startswith(mark)
    return starts


def _word_mark(content: Mapping[str, Any]) -> str | None:
    """What stands for the blank before a word: byte-level and metaspace vocabularies have one."""
    layers = json.dumps([content.get("pre_tokenizer"), content.get("decoder")])
    if '"ByteLevel"' in layers:
        return "Ġ"
    if '"Metaspace"' in layers:
        return "▁"
    return None


@lru_cache(maxsize=1)  # prepare asks three times, and once takes 10 ms
def describe(tokenizer: Tokenizer) -> Mapping[str, Any]:
    """The content of tokenizer.json."""
    content: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    return content
