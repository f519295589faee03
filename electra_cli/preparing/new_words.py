"""Add tokens to a vocabulary of word pieces: words and pieces that a corpus uses often, and cuts.

Old tokens keep their ids, so a network that knows them needs new rows only.
"""

import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tokenizers import Tokenizer as Engine

from electra_cli.data.bert_tokenizer import ENGINE_NAME
from electra_cli.data.tokenizer import Tokenizer, count_ids, describe, load_tokenizer
from electra_cli.errors import ConfigError

COUNTED_CHARS = 16_000_000  # of text whose words are counted, in about 15 seconds
_MOST_WORDS = 50_000  # that are looked at, those that are cut most often
_VOCABULARY = "vocab.txt"  # beside tokenizer.json in some folders


@dataclass(frozen=True)
class Extension:
    """A tokenizer with more tokens, and what they were to the old one."""

    tokenizer: Tokenizer
    pieces: dict[int, list[int]]  # new id -> the old ids in its place; none of one that only pads
    tokens_per_word: tuple[float, float]  # in the sample: before, after


def check_can_extend(tokenizer: Tokenizer) -> None:
    """Raises ConfigError for a vocabulary of another kind than word pieces."""
    kind = describe(tokenizer)["model"]["type"]
    if kind != "WordPiece":
        raise ConfigError(
            f"--add-tokens and --pad-vocab-to extend word pieces, and this tokenizer has a {kind} "
            "vocabulary",
            hint="leave them out, or take a tokenizer of BERT or ELECTRA",
        )


def extend_tokenizer(
    tokenizer: Tokenizer, texts: Iterable[str], most: int, min_frequency: int, multiple: int | None
) -> Extension:
    """At most `most` new tokens that each occur `min_frequency` times in the texts.

    Then [unusedN] up to a `multiple` of so many.
    """
    engine = Engine.from_str(tokenizer.backend_tokenizer.to_str())
    words = _count_words(engine, texts)
    cut = {word: engine.encode(word, add_special_tokens=False).tokens for word in words}
    prefix = engine.model.continuing_subword_prefix
    unknown = engine.model.unk_token
    often_cut = sorted(
        (word for word in words if len(cut[word]) > 1 and unknown not in cut[word]),
        key=lambda word: (-words[word] * (len(cut[word]) - 1), word),
    )[:_MOST_WORDS]
    pairs = [(cut[word], words[word]) for word in often_cut]
    found = choose_tokens(pairs, most, min_frequency, prefix) if most else []
    first = count_ids(tokenizer)
    known = tokenizer.get_vocab()
    pieces = {
        first + place: [known[piece] for piece in run] for place, (_, run) in enumerate(found)
    }
    added = [token for token, _ in found]
    padding = (f"[unused{number}]" for number in range(len(known) + 2 * (multiple or 1)))
    free = (token for token in padding if token not in known)
    while multiple and (first + len(added)) % multiple:
        pieces[first + len(added)] = []
        added.append(next(free))
    extended = _with_tokens(tokenizer, added)
    after = Engine.from_str(extended.backend_tokenizer.to_str())
    total = max(1, words.total())
    rates = (
        sum(count * len(cut[word]) for word, count in words.items()) / total,
        sum(
            count * len(after.encode(word, add_special_tokens=False).tokens)
            for word, count in words.items()
        )
        / total,
    )
    return Extension(extended, pieces, rates)


def _count_words(engine: Engine, texts: Iterable[str]) -> Counter[str]:
    words: Counter[str] = Counter()
    for text in texts:
        normal = engine.normalizer.normalize_str(text) if engine.normalizer else text
        words.update(word for word, _ in engine.pre_tokenizer.pre_tokenize_str(normal))
    return words


def choose_tokens(
    words: Sequence[tuple[Sequence[str], int]], most: int, min_frequency: int, prefix: str
) -> list[tuple[str, tuple[str, ...]]]:
    """Words by their pieces, with counts -> new tokens, each with the pieces that it joins.

    Greedy: next comes the run of pieces that saves most pieces in the text, given those before.
    What a run saves only falls when others are chosen, so a heap of earlier estimates is enough.
    """
    runs: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, (pieces, _) in enumerate(words):
        seen = {
            tuple(pieces[first:stop])
            for first in range(len(pieces))
            for stop in range(first + 2, len(pieces) + 1)
        }
        for run in seen:
            runs[run].append(number)
    covered = [[False] * len(pieces) for pieces, _ in words]

    def places(run: tuple[str, ...]) -> list[tuple[int, int]]:
        """Where it can still be joined: (number of the word, first piece)."""
        return [
            (number, first)
            for number in runs[run]
            for first in _free_places(words[number][0], run, covered[number])
        ]

    def worth(run: tuple[str, ...]) -> int:
        count = sum(words[number][1] for number, _ in places(run))
        return count * (len(run) - 1) if count >= min_frequency else 0

    heap = [(-worth(run), -len(run), run) for run in runs]
    heapq.heapify(heap)
    chosen: list[tuple[str, tuple[str, ...]]] = []
    while heap and len(chosen) < most:
        estimate, length, run = heapq.heappop(heap)
        now = worth(run)
        if not now:
            continue
        if -now != estimate:
            heapq.heappush(heap, (-now, length, run))
            continue
        for number, first in places(run):
            covered[number][first : first + len(run)] = [True] * len(run)
        first_piece, *others = run
        chosen.append((first_piece + "".join(o.removeprefix(prefix) for o in others), run))
    return chosen


def _free_places(
    pieces: Sequence[str], run: tuple[str, ...], covered: Sequence[bool]
) -> Iterator[int]:
    """Where a run of pieces begins and none of them is joined already; no two overlap."""
    first = 0
    while first + len(run) <= len(pieces):
        stop = first + len(run)
        if tuple(pieces[first:stop]) == run and not any(covered[first:stop]):
            yield first
            first = stop
        else:
            first += 1


def _with_tokens(tokenizer: Tokenizer, added: Sequence[str]) -> Tokenizer:
    """The same tokenizer with more word pieces, at the end of its vocabulary."""
    first = count_ids(tokenizer)
    with TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer.save_pretrained(folder)
        path = folder / ENGINE_NAME
        content = json.loads(path.read_text("utf-8"))
        content["model"]["vocab"] |= {token: first + place for place, token in enumerate(added)}
        path.write_text(json.dumps(content, ensure_ascii=False), "utf-8")
        (folder / _VOCABULARY).unlink(missing_ok=True)
        extended = load_tokenizer(folder)
    return extended
