from pathlib import Path

from plot_runs import add_config, run_of

from electra_cli.plotting.run_log import RunLog
from electra_cli.plotting.settings import labels, option_names
from electra_cli.presets import load_options


def run_with(**settings: object) -> RunLog:
    named = {name.replace("__", "."): value for name, value in settings.items()}
    return RunLog("run", {}, settings=named)


def test_runs_are_told_apart_by_what_differs_alone():
    first = run_with(optim__learning_rate=1e-3, run__seed=0, run__compile=False)
    second = run_with(optim__learning_rate=5e-4, run__seed=0, run__compile=True)
    assert labels([first, second]) == [
        "learning_rate 0.001, compile false",
        "learning_rate 0.0005, compile true",
    ]
    assert option_names([first, second]) == (
        ["optim.learning_rate", "run.compile"],
        ["run.seed"],
    )


def test_runs_of_the_same_settings_have_no_label():
    assert labels([run_with(run__seed=0), run_with(run__seed=0)]) == ["", ""]


def test_of_many_differences_three_are_named_and_the_rest_counted():
    first = run_with(**{f"optim__option_{i}": i for i in range(5)})
    second = run_with(**{f"optim__option_{i}": 9 for i in range(5)})
    assert labels([first, second])[0] == "option_0 0, option_1 1, option_2 2 and 2 more"


def test_an_option_of_another_version_differs_and_is_named_where_it_is():
    first, second = run_with(run__seed=0), run_with(run__seed=0, objective__name="mlm")
    assert labels([first, second]) == ["", "objective mlm"]


def test_a_run_without_settings_makes_no_difference():
    known = run_with(run__seed=0)
    assert labels([known, run_of("old"), known]) == ["", "", ""]


def test_a_folder_is_named_by_its_last_part():
    paths = [run_with(data__directory=f"/texts/{name}") for name in ("books", "news")]
    assert labels(paths) == ["directory books", "directory news"]


def test_the_options_of_a_run_are_read_as_they_stand(tmp_path: Path):
    add_config(tmp_path, optim={"learning_rate": 1e-3}, objective={"gone": None})
    options = load_options(tmp_path / "config.yaml")
    assert options == {"optim.learning_rate": 1e-3, "objective.gone": None}
