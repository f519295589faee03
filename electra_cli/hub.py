"""Questions to the Hugging Face Hub that fail soon without a network.

transformers and datasets retry for half a minute or more; one question before them takes seconds.
"""

HUB_TIMEOUT_SECONDS = 10.0


def check_model(name: str) -> None:
    """Ask whether there is such a model. Raises what huggingface_hub raises if not."""
    from huggingface_hub import HfApi

    HfApi().model_info(name, timeout=HUB_TIMEOUT_SECONDS)


def network_errors() -> tuple[type[Exception], ...]:
    """The exceptions of a network or a server that huggingface_hub passes on."""
    # huggingface_hub exports its HTTP library under this name.
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    return OSError, httpx.HTTPError


def one_line(error: object) -> str:
    """A message without its line ends."""
    return " ".join(str(error).split())
