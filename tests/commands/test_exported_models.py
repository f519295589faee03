"""What `electra train` exports, as its users open it: stock classes, stock pipelines, long text."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command_line import TINY, WORDS, electra_environment, run_electra, write_corpus
from conftest import tiny_config
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoModelForMaskedLM, AutoTokenizer, PreTrainedTokenizerFast, pipeline

from electra_cli.data.prepared import open_data

NAMES = {
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "cls_token": "<s>",
    "sep_token": "</s>",
    "mask_token": "<mask>",
}
LONG = "the value of a list is the name of a file. " * 40


@pytest.mark.slow
def test_stock_pipelines_run_on_text_longer_than_the_model(finished):
    """Of the four, token classification alone truncates without being told to."""
    encoder, generator = (str(finished.root / name) for name in ("discriminator", "generator"))
    features = pipeline("feature-extraction", encoder)(LONG, truncation=True)
    assert len(features[0]) == 32
    assert pipeline("token-classification", encoder)(LONG)
    assert pipeline("text-classification", encoder)(LONG, truncation=True)
    fill = pipeline("fill-mask", generator)
    found = fill(f"a {fill.tokenizer.mask_token} {LONG}", tokenizer_kwargs={"truncation": True})
    assert len(found) == 5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["discriminator", "generator"])
def test_the_example_of_the_card_runs_wherever_the_folder_lies(tmp_path, finished, name):
    folder = shutil.copytree(finished.root / name, tmp_path / "else where" / name)
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=electra_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def metaspace_tokenizer(folder: Path) -> Path:
    """Pieces with a mark for the blank before them; no post-processor, no types."""
    engine = Tokenizer(models.BPE(unk_token="<unk>"))
    engine.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=200, special_tokens=list(NAMES.values()), show_progress=False
    )
    engine.train([str(write_corpus(folder.with_suffix(".txt"), 60))], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=engine, **NAMES)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_a_tokenizer_from_elsewhere_makes_the_windows_of_training(tmp_path):
    given = metaspace_tokenizer(tmp_path / "given")
    documents = [f"the {WORDS[i % 40]} of a {WORDS[i // 40]} is the name" for i in range(300)]
    (tmp_path / "c.txt").write_text("\n\n".join(documents))
    done = run_electra(tmp_path, "prepare", "c.txt", "--out", "d", "--tokenizer", given)
    assert done.returncode == 0, done.stderr
    options = [*TINY, "--set=data.max_seq_length=64", "--set=model.max_position_embeddings=64"]
    done = run_electra(tmp_path, "train", "--data", "d", "--run-name", "r", *options)
    assert done.returncode == 0, done.stderr

    config = tiny_config(
        data={"max_seq_length": 64, "single_segment_fraction": 1.0},
        model={"max_position_embeddings": 64},
    )
    batch = open_data(tmp_path / "d").reader("train", config).read(0, 0, 100)
    lengths = batch.cu_seqlens.diff().tolist()
    trained = {tuple(window.tolist()) for window in torch.split(batch.input_ids, lengths)}
    for name in ("discriminator", "generator"):
        folder = tmp_path / "runs" / "r" / name
        tokenizer = AutoTokenizer.from_pretrained(folder)
        assert trained <= {tuple(tokenizer(text)["input_ids"]) for text in documents}
        assert list(tokenizer("a", "b").keys()) == ["input_ids", "token_type_ids", "attention_mask"]
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
        assert settings["model_max_length"] == 64
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "runs" / "r" / "generator")
    inputs = tokenizer("the <mask> of a list " * 50, truncation=True, return_tensors="pt")
    assert model(**inputs).logits.shape[1] == 64


@pytest.mark.slow
def test_a_tokenizer_without_words_is_refused_before_work_begins(tmp_path):
    engine = Tokenizer(
        models.WordLevel({name: i for i, name in enumerate(NAMES.values())}, "<unk>")
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=engine, **NAMES)
    tokenizer.save_pretrained(tmp_path / "empty")
    corpus = write_corpus(tmp_path / "c.txt", 10)
    done = run_electra(tmp_path, "prepare", corpus, "--out", "d", "--tokenizer", "empty")
    assert done.returncode == 1
    assert "does not make the windows" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "d").exists()
