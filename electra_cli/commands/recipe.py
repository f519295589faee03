"""What `electra train` trains: the settings of preset and command line, and where weights start."""

from electra_cli.commands.train_options import TrainOptions
from electra_cli.config import DataConfig, PretrainConfig
from electra_cli.data.prepared import PreparedData, find_data, prepared_folders
from electra_cli.errors import ConfigError
from electra_cli.finetuning.probe_files import with_whole_paths
from electra_cli.presets import load_preset, with_options, written_value
from electra_cli.runs.fitting import fit_sizes
from electra_cli.runs.session import refuse_existing
from electra_cli.runs.starting import StartingPoint, checkpoint_of, open_starting_point
from electra_cli.runs.trackers import require_trackers

_USUAL_VOCABULARY = 30_522
_SOURCES = ("model.init_from", "model.generator_from")


def load_recipe(options: TrainOptions) -> tuple[PretrainConfig, StartingPoint | None]:
    """The settings, and the trained networks to start from, whose sizes they have."""
    if options.root is not None:
        refuse_existing(options.root)
    written = (options.preset, options.options, options.assignments)
    sources = {name: written_value(*written, name) for name in _SOURCES}
    if options.init_step is not None and not sources[_SOURCES[0]]:
        raise ConfigError(
            f"--step {options.init_step} chooses a checkpoint of what --init-from names",
            hint="did you mean --steps?",
        )
    steps = (options.init_step, None)
    sources = {
        name: checkpoint_of(str(value), step)
        for (name, value), step in zip(sources.items(), steps, strict=True)
        if value is not None
    }
    init_from, generator_from = (sources.get(name) for name in _SOURCES)
    start = open_starting_point(init_from, generator_from, options.num_heads)
    usual = {}
    if start is not None:
        length = written_value(*written, "data.max_seq_length")
        usual = start.usual_options(DataConfig().max_seq_length if length is None else length)
        usual = {name: value for name, value in usual.items() if name not in options.chosen}
    config = load_preset(options.preset, {**usual, **options.options}, options.assignments)
    config = with_options(with_whole_paths(config), sources, "--init-from")
    if start is not None:
        config = fit_sizes(config, start, options.chosen)
    require_trackers(config.run.report_to)
    # A dry run needs data only for options that act on it.
    act_on_data = (options.epochs, options.verify_data, config.run.probes, config.data.replay)
    needs_data = not options.dry_run or any(act_on_data) or config.data.directory is not None
    if needs_data or prepared_folders():
        config = config.with_directory(find_data(config.data.directory).resolve())
    return config, start


def vocab_size_of(data: PreparedData | None, start: StartingPoint | None) -> int:
    """Of the data; without data, of the plan: the trained weights', or the authors' vocabulary."""
    if data is not None:
        return data.manifest.vocab_size
    if start is not None and start.main is not None:
        return start.main.vocab_size
    return _USUAL_VOCABULARY
