"""What the shell offers after Tab; nothing is loaded before it asks."""

from pathlib import Path


def presets(incomplete: str) -> list[str]:
    """The presets' names, and YAML files here."""
    from electra_cli.preset_reading import preset_names

    files = [str(path) for path in Path().glob("*.yaml")]
    return _matching([*preset_names(), *files], incomplete)


def runs(incomplete: str) -> list[str]:
    """Folders of runs below runs/, and of trials below tune/."""
    from electra_cli.run_directory import RUNS_FOLDER

    found = [*RUNS_FOLDER.glob("*/config.yaml"), *Path("tune").glob("*/*/config.yaml")]
    return _matching([str(path.parent) for path in found], incomplete)


def models(incomplete: str) -> list[str]:
    """Folders of fine-tunes below finetune/, and of runs."""
    from electra_cli.run_directory import FINETUNE_FOLDER

    found = [str(path.parent) for path in FINETUNE_FOLDER.glob("*/config.yaml")]
    return sorted([*_matching(found, incomplete), *runs(incomplete)])


def data_folders(incomplete: str) -> list[str]:
    """Prepared folders below data/."""
    return _matching(
        [str(path.parent) for path in Path("data").glob("*/manifest.json")], incomplete
    )


def options(incomplete: str) -> list[str]:
    """Every option as section.key=."""
    from electra_cli.config import iter_options

    return _matching([f"{name}=" for name, _ in iter_options()], incomplete)


def finetune_options(incomplete: str) -> list[str]:
    """Every option of a fine-tune."""
    from electra_cli.config import iter_options
    from electra_cli.finetuning.settings import FinetuneRecipe

    return _matching([f"{name}=" for name, _ in iter_options(FinetuneRecipe)], incomplete)


def changeable_options(incomplete: str) -> list[str]:
    """The options that a resume may change."""
    from electra_cli import config

    return _matching([f"{name}=" for name in config.changeable_options()], incomplete)


def _matching(words: list[str], incomplete: str) -> list[str]:
    return sorted(word for word in words if word.startswith(incomplete))
