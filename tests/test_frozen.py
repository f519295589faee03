"""What one room hands to another is frozen, so that nobody changes it on the way."""

import dataclasses
import importlib
import pkgutil
from collections.abc import Iterator

import pytest
from pydantic import BaseModel


def classes_of(room: str) -> Iterator[type]:
    package = importlib.import_module(f"electra_cli.{room}")
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        module = importlib.import_module(found.name)
        yield from (
            each
            for each in vars(module).values()
            if isinstance(each, type) and each.__module__ == found.name
        )


@pytest.mark.parametrize("room", ["data", "model", "training", "runs"])
def test_values_are_frozen(room):
    frozen = {
        each: each.__dataclass_params__.frozen
        if dataclasses.is_dataclass(each)
        else each.model_config["frozen"]
        for each in classes_of(room)
        if dataclasses.is_dataclass(each) or issubclass(each, BaseModel)
    }
    assert frozen
    assert all(frozen.values()), frozen
