"""Turn docstrings, comments and README files into paragraphs of plain English.

Pure: text in, paragraphs out. Which files are read, and what repeats among them, is builtin.py's
work. A paragraph is one line without markup; code, tables, signatures and headings are left out.
In doubt a paragraph is dropped: a trial run needs less prose than there is, and noise harms it.
"""

import re
from collections.abc import Iterator

MIN_WORDS = 6
MIN_WORDS_WITHOUT_END = 8  # shorter text without a full stop is often a heading
MIN_PLAIN_FRACTION = 0.88  # letters and spaces among all characters
MIN_WORD_FRACTION = 0.72  # words as in a dictionary among all tokens
MIN_FUNCTION_WORD_FRACTION = 0.2  # "the", "of", "is": 0.3 to 0.5 in English, near 0 in lists
WRAPPED_LENGTH = 40  # a line of at least so many characters was probably wrapped by an editor

FUNCTION_WORDS = frozenset(
    """a about above after all also an and any are as at be because been before being between both
    but by can cannot could do does each either every for from had has have he here how i if in
    into is it its itself just less may might more most must no none nor not now of on once one only
    or other otherwise our over own per same shall she should since so some such than that the
    their them then there these they this those through to too two under until up upon us use used
    using very was we were what when where whether which while who whose why will with within
    without would yet you your""".split()
)

# The content of these directives is prose; others hold code, mathematics or images.
PROSE_DIRECTIVES = frozenset(
    """admonition attention caution danger deprecated hint important note rubric seealso sidebar tip
    topic versionadded versionchanged warning""".split()
)
TYPE_FIELDS = frozenset(["type", "rtype", "vartype", "meta"])

_DIRECTIVE = re.compile(r"\.\.\s+([\w:-]+?)::\s*[\d.]*\s*(.*)")
_UNDERLINE = re.compile(r"([=\-~^\"'`#*+.:_])\1{2,}$")
_TABLE_ROW = re.compile(r"[|+].*[|+]$|[=-]{2,}(\s+[=-]{2,})+$|\S.*\s\|\s.*\|\s")
_BULLET = re.compile(r"(?:[-*+•]|\(?\d{1,2}[.)]|\([a-z]\)|#+\.?)\s+(?=\S)")
_FIELD = re.compile(r"[:@](\w+)[^:`]*:(?:\s+|$)")
_TYPED_NAME = re.compile(r"[*\w][\w.,*/\[\]'\"`\\ ]*\s:(\s|$)")  # numpydoc: "axis : int, optional"
_NAME_WITH_TEXT = re.compile(  # "axis (int): The axis.", "axis: The axis." and "axis -- The axis."
    r"[-*`]*[\w.*/]+[`*]*\s*\(.*?\)\s*:(?:\s+|$)"
    r"|[*`]*(?:[a-z_]|[A-Z]\w*[a-z][A-Z])[\w.]*[`*]*:(?:\s+|$)"
    r"|[\w.]+\s+--\s+"
)

_MARKED = re.compile(r"[`*_\[<|\\]")
_MARKUP: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"!\[[^\]]*\]\([^)]*\)"), ""),  # ![image](url)
    (re.compile(r"\[([^\]]+)\]\([^)]*\)"), r"\1"),  # [text](url)
    (re.compile(r"\s?\[[\w#*-]*\]_"), ""),  # [1]_
    (re.compile(r":[\w+:.-]+:`[~!]?([^`<]*?)\s*<[^`]*>`"), r"\1"),  # :ref:`title <target>`
    (re.compile(r":[\w+:.-]+:`~[\w.]*?(\w+(?:\(\))?)`"), r"\1"),  # :class:`~package.Name`
    (re.compile(r":[\w+:.-]+:`[!.]?([^`]*)`"), r"\1"),  # :class:`Name`
    (re.compile(r"``(.+?)``"), r"\1"),
    (re.compile(r"`([^`<]+?)\s*<[^`>]*>`_{0,2}"), r"\1"),  # `title <url>`_
    (re.compile(r"\[?`~?([^`]+)`(?:__?\b)?\]?"), r"\1"),
    (re.compile(r"(?<!\w)(\*{1,3})(?=\S)([^*]+?)(?<=\S)\1(?!\w)"), r"\2"),
    (re.compile(r"(?<!\w)_(?=\S)([^_]+?)(?<=\S)_(?!\w)"), r"\1"),
    (re.compile(r"(?<!\w)\|(\w[\w -]*)\|(?!\w)"), r"\1"),
    (re.compile(r"</?[A-Za-z][^<>]*>"), ""),
    (re.compile(r"\\([*_`|<>\\ ])"), r"\1"),
)
_START = re.compile(r"(?!Copyright )[\"'(]?[A-Za-z0-9]")
_END = re.compile(r"[.!?:)\"'\]]$")
_WORD = re.compile(r"[(\"'\[]*[A-Za-z](?:[a-z'’-]*[a-z])?[.,;:!?)\"'\]]*$")
_NOT_PLAIN = re.compile(r"[^A-Za-z ]")
_CODE = re.compile(
    r"[{}]|\\[A-Za-z]|%[(sd]|==|->|=>|\w\(\w*\)\.|;$|&\w+;|\$\w|[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffd]"
)


def paragraphs(text: str) -> Iterator[str]:
    """The prose of a docstring, a comment or a README, in order; each paragraph one line."""
    cutter = _BlockCutter()
    for line in text.expandtabs().splitlines():
        cutter.add_line(line)
    cutter.end_block()
    for block in cutter.blocks:
        if block.count(" ") < MIN_WORDS - 1:  # removing markup adds no words
            continue
        paragraph = _without_markup(block)
        if reads_like_prose(paragraph):
            yield paragraph


def reads_like_prose(paragraph: str) -> bool:
    """Whether it is at least a sentence of English, not a heading, a signature or code."""
    tokens = paragraph.split()
    if len(tokens) < MIN_WORDS or not _START.match(paragraph) or _CODE.search(paragraph):
        return False
    if not _END.search(paragraph) and (
        len(tokens) < MIN_WORDS_WITHOUT_END or tokens[-1].lower() in FUNCTION_WORDS
    ):
        return False
    if sum(token.lower() in FUNCTION_WORDS for token in tokens) < (
        MIN_FUNCTION_WORD_FRACTION * len(tokens)
    ):
        return False
    if len(_NOT_PLAIN.findall(paragraph)) > (1 - MIN_PLAIN_FRACTION) * len(paragraph):
        return False
    words = sum(_WORD.match(token) is not None for token in tokens)
    return words >= MIN_WORD_FRACTION * len(tokens)


def _without_markup(paragraph: str) -> str:
    if _MARKED.search(paragraph):
        for pattern, replacement in _MARKUP:
            paragraph = pattern.sub(replacement, paragraph)
    return " ".join(paragraph.split())


class _BlockCutter:
    """Cuts the lines of a text into blocks, which are candidates for paragraphs."""

    def __init__(self) -> None:
        self.blocks: list[str] = []
        self._block: list[str] = []
        self._indent = 0  # of the block's lines
        self._is_item = False  # a list item or a field, whose next lines are indented more
        self._fence = ""  # the mark that closes the present fenced code
        self._hidden_below: int | None = None  # lines indented more are code or a directive
        self._hidden_until_blank = False  # inside a doctest or a table

    def add_line(self, line: str) -> None:
        """Add the next line of the text."""
        stripped = line.strip()
        indent = len(line) - len(line.lstrip())
        if self._fence:
            if stripped.startswith(self._fence):
                self._fence = ""
        elif not stripped:
            self._hidden_until_blank = False
            self.end_block()
        elif not (self._is_hidden(indent) or self._hides(stripped, indent)):
            self._add(stripped, indent)

    def end_block(self) -> None:
        """End the present block: the next line begins another paragraph."""
        if self._block:
            self.blocks.append(" ".join(self._block))
        self._block = []

    def _is_hidden(self, indent: int) -> bool:
        if self._hidden_below is not None and indent <= self._hidden_below:
            self._hidden_below = None
        return self._hidden_until_blank or self._hidden_below is not None

    def _hides(self, stripped: str, indent: int) -> bool:
        """Whether this line is not prose; also sets which of the lines below are hidden."""
        if stripped.startswith((">>>", "In [")):
            self._hidden_until_blank = True
        elif stripped.startswith(("```", "~~~")):
            self._fence = stripped[:3]
        elif _UNDERLINE.match(stripped):
            self._block = self._block[:-1]  # the title
        elif _TABLE_ROW.match(stripped):
            self._block = []
            self._hidden_until_blank = True
        elif stripped.startswith(".. "):
            self._hidden_below = indent
        else:
            return False
        self.end_block()
        directive = _DIRECTIVE.match(stripped)
        if directive and directive[1] in PROSE_DIRECTIVES:
            self._hidden_below = None
            if directive[2]:
                self._start(directive[2], indent, is_item=True)
        return True

    def _add(self, stripped: str, indent: int) -> None:
        if self._block and not self._goes_on(indent, stripped):
            self.end_block()
        marker = _BULLET.match(stripped) or _FIELD.match(stripped)
        text = stripped[marker.end() :] if marker else stripped
        name = _NAME_WITH_TEXT.match(text)
        text = text[name.end() :] if name else text
        if marker or name or _TYPED_NAME.match(text):
            self.end_block()
            is_type = marker is not None and marker.lastindex == 1 and marker[1] in TYPE_FIELDS
            if text and not is_type and (name or not _TYPED_NAME.match(text)):
                self._start(text, indent, is_item=True)
        elif self._block:
            self._block.append(text)
        else:
            self._start(text, indent, is_item=False)
        if stripped.endswith("::") and self._block:
            self._block[-1] = self._block[-1][:-1]
            self._hidden_below = indent
            self.end_block()

    def _goes_on(self, indent: int, stripped: str) -> bool:
        """Whether a line continues the present block."""
        if self._is_item:
            return indent > self._indent
        last = self._block[-1]
        if indent > self._indent and len(last) >= WRAPPED_LENGTH and last[-1] not in ".:;!?":
            self._indent = indent  # a hanging indent: "NOTE: ..." and deeper lines below it
            return stripped[0].islower()
        return indent == self._indent

    def _start(self, text: str, indent: int, is_item: bool) -> None:
        self._block = [text]
        self._indent = indent
        self._is_item = is_item
