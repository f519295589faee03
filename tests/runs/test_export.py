"""The model card of a finished run."""

from dataclasses import replace

from tiny_session import open_tiny, train_and_save

from electra_cli.run_directory import RunDirectory
from electra_cli.runs.export import export_models, trained_model


def test_the_card_has_the_last_held_out_figures(finished):
    run = RunDirectory(finished.root)
    card = (run.model("discriminator") / "README.md").read_text()
    rows = [line.split(" | ") for line in card.splitlines() if line.startswith("| ")][1:]
    shown = {name.removeprefix("| "): value.removesuffix(" |") for name, value in rows}
    last = {name: column[-1] for name, column in run.read_log().items()}
    assert shown == {
        name.removeprefix("validation_"): f"{value:.4f}"
        for name, value in last.items()
        if name.startswith("validation_") and value is not None
    }
    assert "rtd_auc" in shown  # and word_loss is not: ELECTRA restores no words
    assert "word_loss" not in shown


def test_a_source_is_named_as_plain_text(tmp_path, prepared):
    session = open_tiny(tmp_path, prepared)
    train_and_save(session, 1)
    manifest = session.data.manifest.model_copy(update={"source_name": "a_b*\n<c>"})
    named = replace(session, data=replace(session.data, manifest=manifest))
    card = (export_models(trained_model(named), named.run) / "README.md").read_text()
    assert "of a\\_b\\* &lt;c&gt; (vocabulary" in card
    session.close()
