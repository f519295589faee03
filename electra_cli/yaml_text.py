"""YAML of plain settings as text. The only importer of yaml."""

import re
import reprlib
from typing import Any

import yaml

MAX_DEPTH = 8  # sections, options and their values need three levels
MAX_SHOWN_CHARS = 80  # of a name or a value in a message


def parse_yaml(text: str) -> Any:
    """Plain values. Raises ValueError, in one line, for what is not YAML of plain settings."""
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a number of too many digits
        reason = str(error).replace('in "<unicode string>", ', "")
        raise ValueError(" ".join(reason.split())) from None


def write_yaml(values: Any) -> str:
    """Mappings, lists and plain values in their order."""
    return str(yaml.safe_dump(values, sort_keys=False))


def shown(value: object) -> str:
    """A value as Python writes it, in a line of bounded length."""
    if isinstance(value, int) and value.bit_length() > 200:
        return f"a number of {value.bit_length()} bits"
    form = reprlib.Repr()
    form.maxstring = form.maxother = MAX_SHOWN_CHARS
    return form.repr(value)


class _Loader(yaml.SafeLoader):
    """Plain settings only: no tags, no aliases, no deep nesting, no key twice in one mapping.

    A tag can name Python code, aliases can stand for more than any memory holds or for themselves,
    and of two equal keys YAML would quietly forget the first.
    """

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        mark = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            raise yaml.MarkedYAMLError(
                problem="an alias, which settings do not need", problem_mark=mark
            )
        if getattr(event, "tag", None) is not None:
            problem = f"the tag {shown(event.tag)}, which settings do not need"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
        if self._depth == MAX_DEPTH:
            problem = f"more than {MAX_DEPTH} levels"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                problem = f"{shown(key.value)} for the second time"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)


# Dates stay text: no option takes a date, and not every text of that form is a valid one. Numbers
# are decimal, as those of the command line are: YAML 1.1 would read 010 as 8 and 1:30 as 90, and
# 5e-4 as text.
_REPLACED = ("timestamp", "int", "float")
_Loader.yaml_implicit_resolvers = {
    start: [(tag, form) for tag, form in resolvers if tag.rpartition(":")[2] not in _REPLACED]
    for start, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("int", re.compile("[-+]?[0-9]+$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "float",
    re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$"),
    list("-+.0123456789"),
)
_Loader.add_constructor("int", lambda _, node: int(node.value))
_Loader.add_constructor("float", lambda _, node: float(node.value))
