"""What the sections of a recipe have in common: validation, marks of options, and bounds."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

# Far beyond any run, and small enough that no product of sizes overflows 64 bits.
MAX_STEPS = 10**12
MAX_WIDTH = 2**17
MAX_LAYERS = 1_000
MAX_TOKENS = 2**20  # of a window
MAX_WINDOWS = 2**24  # of a batch; data/masking.py numbers them with so many bits
MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class Changeable:
    """Marks an option that a resumed run may change: it says how, not what, is computed."""


@dataclass(frozen=True)
class NotSearched:
    """Marks an option that `electra tune` may not vary, and says why."""

    reason: str


NOT_LEARNED = NotSearched("it changes what is logged or kept, not what is learned")
SAME_RESULT = NotSearched("it changes nothing that is learned")


class Section(BaseModel):
    """A group of options: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _reject_other_kinds(cls, value: object, info: ValidationInfo) -> object:
        """Refuse `true` where a number stands, which pydantic would take for 1, and 1e6 as a count.

        The arguments of the command line take whole numbers in digits only.
        """
        assert info.field_name is not None
        kind = cls.model_fields[info.field_name].annotation
        if isinstance(value, bool) and kind is not bool:
            raise ValueError("Input should be a number or text, not true or false")
        if isinstance(value, float) and kind in (int, int | None):
            raise ValueError("Input should be a whole number in digits, such as 1000000")
        return value


def as_utf8(text: str) -> str:
    """Text that UTF-8 can hold; ? stands for what it cannot."""
    return text.encode("utf-8", errors="replace").decode("utf-8")
