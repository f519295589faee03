"""Which encoding fits the bytes of a file that is not UTF-8, and the command that converts it."""

import contextlib
import re
import unicodedata
from pathlib import Path

from electra_cli.disk import as_argument
from electra_cli.preparing.decompress import COMMANDS, DAMAGED, decompress

_SAMPLE_BYTES = 1 << 20
# Where this many of the bad places are beside one good one, the file is not in UTF-8. Double-byte
# encodings such as GB 18030 hold valid UTF-8 by chance, about once in twenty characters.
_BAD_PER_GOOD = 5
_PROSE_FRACTION = 0.95  # of random 16-bit numbers two thirds are letters

# Halves of characters beyond U+FFFF, each in three bytes: UTF-8 as Java and databases write it.
_HALVES = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
_NOT_ISO = re.compile(rb"[\x80-\x9f]")

# chardet's names of the encodings that iconv of GNU and of macOS knows, and iconv's names.
_ICONV_NAMES = {
    "utf-16": "UTF-16",
    "utf-16-le": "UTF-16LE",
    "utf-16-be": "UTF-16BE",
    "utf-32": "UTF-32",
    "utf-32-le": "UTF-32LE",
    "utf-32-be": "UTF-32BE",
    "gb18030": "GB18030",
    "big5hkscs": "BIG5-HKSCS",
    "cp932": "CP932",
    "euc_jis_2004": "EUC-JP",
    "iso2022_jp_2": "ISO-2022-JP-2",
    "iso2022_kr": "ISO-2022-KR",
    "cp949": "CP949",
    "mac-roman": "MACINTOSH",
    "mac-cyrillic": "MAC-CYRILLIC",
    "tis-620": "TIS-620",
    **{f"iso8859-{part}": f"ISO-8859-{part}" for part in (*range(1, 11), *range(13, 17))},
    **{name: name.upper() for name in ("koi8-r", "koi8-u")},
    **{f"cp{page}": f"CP{page}" for page in (437, 737, 775, 850, 852, 855, 857, 858, 869, 874)},
    **{f"cp{page}": f"CP{page}" for page in (*range(860, 867), *range(1250, 1259))},
}


def find_encoding(sample: bytes) -> str | None:
    """iconv's name of the encoding that fits these bytes best; None if they look like no text."""
    import chardet

    # Bytes 0x80 to 0x9F are no characters of the ISO 8859 family, which chardet overlooks.
    is_iso = not _NOT_ISO.search(sample)
    names = [name for name in _ICONV_NAMES if is_iso or not name.startswith("iso8859")]
    found = chardet.detect(sample, compat_names=False, include_encodings=names)
    if found["encoding"] is None:  # also of short texts in UTF-16 with few spaces, such as Chinese
        pairs = sample[: len(sample) // 2 * 2]
        return next((name for name in ("UTF-16LE", "UTF-16BE") if _is_prose(pairs, name)), None)
    return _ICONV_NAMES.get(found["encoding"])


def _is_prose(sample: bytes, encoding: str) -> bool:
    """Whether nearly all characters are letters, digits, spaces and punctuation."""
    try:
        text = sample.decode(encoding)
    except UnicodeDecodeError:
        return False
    usual = sum(c.isalnum() or c.isspace() or unicodedata.category(c)[0] == "P" for c in text)
    return usual > _PROSE_FRACTION * len(text)


def conversion_hint(path: Path, compression: str, broken: bytes) -> str | None:
    """What to do with a file that holds these bytes; None if no single encoding fits it.

    The file may also be UTF-8 with a few broken places, which a conversion would make worse.
    """
    sample = broken[:_SAMPLE_BYTES]
    with contextlib.suppress(OSError, *DAMAGED), path.open("rb", buffering=0) as raw:
        sample += decompress(raw, compression).read(_SAMPLE_BYTES) or b""
    text = _HALVES.sub(b"", sample).decode("utf-8", errors="replace")
    bad = text.count("\ufffd")
    good = sum(map(text.count, set(text) - set(map(chr, range(128))) - {"\ufffd"}))
    if bad <= _BAD_PER_GOOD * good:
        return None
    encoding = find_encoding(sample)
    return encoding and conversion_command(path, compression, encoding)


def conversion_command(path: Path, compression: str, encoding: str) -> str:
    """The command that writes the file in UTF-8 beside it; iconv stops at what it cannot read."""
    name = path.name.removesuffix(path.suffix) if compression else path.name
    stem, _, kind = name.rpartition(".")
    copy, here = path.with_name(f"{stem}-utf8.{kind}"), as_argument(path)
    convert = f"iconv -f {encoding} -t UTF-8"
    convert = f"{COMMANDS[compression]} {here} | {convert}" if compression else f"{convert} {here}"
    return f"{encoding} fits it: {convert} > {as_argument(copy)}"
