"""The sizes of a run that starts from trained networks follow from them."""

from collections.abc import Collection
from typing import Any

import torch

from electra_cli.config import PretrainConfig
from electra_cli.errors import ConfigError
from electra_cli.model.sources import EMBEDDINGS, SourceNetwork
from electra_cli.presets import with_options
from electra_cli.runs.starting import StartingPoint, sizes_of


def fit_sizes(
    config: PretrainConfig, start: StartingPoint, chosen: Collection[str]
) -> PretrainConfig:
    """The config with the sizes of the networks that it starts from.

    Raises ConfigError where an option that was `chosen` on the command line says otherwise, or a
    generator does not fit beside the main network.
    """
    if start.main is not None:
        _refuse_others(config, sizes_of(start.main), chosen, start.main.name)
    if not config.objective.has_generator:
        return config
    if start.generator is not None:
        return _fit_generator(config, start, start.generator, chosen)
    if config.objective.freezes_generator:
        raise ConfigError(
            f"objective.freeze_generator needs a trained generator, and {start.sources[0].name} "
            "has none",
            hint="name a masked language model of the same vocabulary: --generator FOLDER",
        )
    return config


def _refuse_others(
    config: PretrainConfig, options: dict[str, Any], chosen: Collection[str], source: str
) -> None:
    for name, value in options.items():
        section, _, key = name.partition(".")
        found = getattr(getattr(config, section), key)
        if name in chosen and found != value:
            raise ConfigError(
                f"{name} = {found}, but {source} has {value}",
                hint=f"leave {name} out: sizes come from what a run starts from",
            )


def _fit_generator(
    config: PretrainConfig,
    start: StartingPoint,
    generator: SourceNetwork,
    chosen: Collection[str],
) -> PretrainConfig:
    sizes, model = generator.config, config.model
    # A frozen generator keeps weights of its own, though it may have begun as one of a pair.
    main = None if config.objective.freezes_generator else start.main
    is_one = main is not None and _is_shared(main, generator, "electra.")
    shares = main is not None and _is_shared(main, generator, EMBEDDINGS)
    options: dict[str, Any] = {
        "model.generator_width": sizes.num_attention_heads / model.num_attention_heads,
        "model.generator_depth": sizes.num_hidden_layers / model.num_hidden_layers,
        "model.tie_encoders": is_one,
    }
    if sizes.hidden_size > model.hidden_size or sizes.num_hidden_layers > model.num_hidden_layers:
        raise ConfigError(
            f"{generator.name} has {sizes.num_hidden_layers} layers of {sizes.hidden_size}, more "
            f"than the main network's {model.num_hidden_layers} of {model.hidden_size}",
            hint="name a smaller generator, or leave --generator out for a fresh one",
        )
    _refuse_others(config, _close(options, config), chosen, generator.name)
    is_tied = shares and model.tie_embeddings
    if not is_tied:
        _refuse_others(config, {"model.tie_embeddings": False}, chosen, generator.name)
    options["model.tie_embeddings"] = is_tied
    options["model.generator_embedding_size"] = None if is_tied else sizes.embedding_size
    fitted = with_options(config, options, f"generator {generator.name}")
    for name, wanted in (
        ("hidden_size", fitted.model.generator_hidden_size),
        ("intermediate_size", fitted.model.generator_intermediate_size),
        ("max_position_embeddings", fitted.model.max_position_embeddings),
    ):
        if (found := getattr(sizes, name)) != wanted:
            raise ConfigError(
                f"{generator.name} has {name} {found}; beside this main network it would need "
                f"{wanted}",
                hint="name a generator of the same proportions, or leave --generator out for a "
                "fresh one",
            )
    return fitted


def _close(options: dict[str, Any], config: PretrainConfig) -> dict[str, Any]:
    """The options, but for a share that a user wrote and that makes the same whole number."""
    model = config.model
    found = {
        "model.generator_width": (model.generator_heads, model.num_attention_heads),
        "model.generator_depth": (model.generator_layers, model.num_hidden_layers),
    }
    same = [name for name, (part, whole) in found.items() if options[name] == part / whole]
    return {name: value for name, value in options.items() if name not in same}


def _is_shared(main: SourceNetwork, generator: SourceNetwork, prefix: str) -> bool:
    """Whether both have the same weights there, as a pair that was trained together does."""
    ours, theirs = (
        {key: tensor for key, tensor in source.weights.items() if key.startswith(prefix)}
        for source in (main, generator)
    )
    return ours.keys() == theirs.keys() and all(
        torch.equal(tensor, theirs[key]) for key, tensor in ours.items()
    )
