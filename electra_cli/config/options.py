"""The options of a recipe by name: which there are, which are idle, and their table."""

from collections.abc import Iterator
from typing import Any

from pydantic.fields import FieldInfo

from electra_cli.config.recipe import PretrainConfig
from electra_cli.config.section import Changeable, NotSearched, Section


def iter_options(recipe: type[Section] | None = None) -> Iterator[tuple[str, FieldInfo]]:
    """Every option of a recipe, by default of PretrainConfig, as `section.key`, in order."""
    for section, field in (recipe or PretrainConfig).model_fields.items():
        section_class = field.annotation
        assert isinstance(section_class, type)
        assert issubclass(section_class, Section)
        for key, option in section_class.model_fields.items():
            yield f"{section}.{key}", option


_OF_GENERATOR = (
    "objective.temperature",
    "objective.freeze_generator",
    "objective.discriminator_start_step",
)


def idle_options(config: PretrainConfig) -> dict[str, str]:
    """The options that nothing reads under these settings, each with the reason."""
    objective, idle = config.objective, {}
    if not objective.has_generator:
        setting = "name mlm" if objective.name == "mlm" else "uniform_generator"
        names = (
            "generator_width",
            "generator_depth",
            "tie_embeddings",
            "generator_embedding_size",
            "tie_encoders",
            "generator_from",
        )
        idle = dict.fromkeys(
            (*(f"model.{name}" for name in names), *_OF_GENERATOR),
            f"objective.{setting} trains no generator",
        )
        if objective.name == "mlm":
            reason = "objective.name mlm trains one network; its weight is generator_loss_weight"
            idle["objective.discriminator_loss_weight"] = reason
        else:
            idle["objective.generator_loss_weight"] = f"objective.{setting} trains no generator"
    elif objective.freeze_generator:
        reason = "objective.freeze_generator trains no generator"
        idle["objective.generator_loss_weight"] = reason
        idle["objective.discriminator_start_step"] = reason
    elif config.model.tie_embeddings:
        idle["model.generator_embedding_size"] = "model.tie_embeddings shares the embeddings"
    if config.run.on_nonfinite == "stop":
        idle["run.max_skipped_batches"] = "run.on_nonfinite is stop"
    return idle


def changeable_options() -> list[str]:
    """The options that a resumed run may change, sorted."""
    return sorted(name for name, option in iter_options() if Changeable() in option.metadata)


def reason_not_searched(name: str) -> str | None:
    """Why `electra tune` may not vary an option; None if it may."""
    option = dict(iter_options()).get(name)
    marks = [] if option is None else option.metadata
    return next((mark.reason for mark in marks if isinstance(mark, NotSearched)), None)


def _in_yaml(default: Any) -> str:
    """A default as it is written in a preset."""
    match default:
        case None:
            return "null"
        case bool():
            return str(default).lower()
        case float():
            return f"{default:.4g}"
        case tuple():
            return str(list(default))
    return str(default)


def option_table(recipe: type[Section] | None = None) -> str:
    """A table of options in docs/options.md, in Markdown."""
    lines = ["| option | default | what it does |", "|---|---|---|"]
    for name, option in iter_options(recipe):
        cells = (f"`{name}`", _in_yaml(option.default), str(option.description))
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)
