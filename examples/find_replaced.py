"""Use both models of a finished run: the generator replaces a word, the discriminator finds it.

python examples/find_replaced.py RUN_DIR ["A sentence of yours." WORD FAKE]
"""

import sys
from pathlib import Path

import torch
from transformers import AutoModelForMaskedLM, AutoModelForPreTraining, AutoTokenizer
from transformers.utils import logging

# The demo's corpus has many sentences like this one, so a tiny model can judge it.
SENTENCE = "this function can be used to create a new instance of the class."
WORD, FAKE = "instance", "the"


@torch.no_grad()
def main(run: Path, sentence: str = SENTENCE, word: str = WORD, fake: str = FAKE) -> None:
    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(run / "discriminator")
    discriminator = AutoModelForPreTraining.from_pretrained(run / "discriminator").eval()
    generator = AutoModelForMaskedLM.from_pretrained(run / "generator").eval()

    masked = tokenizer(sentence.replace(word, tokenizer.mask_token, 1), return_tensors="pt")
    place = masked.input_ids[0].tolist().index(tokenizer.mask_token_id)
    likely = generator(**masked).logits[0, place].softmax(0).topk(5)
    proposals = zip(tokenizer.convert_ids_to_tokens(likely.indices), likely.values, strict=True)
    print(f"\n{sentence.replace(word, '[MASK]', 1)}")
    print("the generator proposes: " + ", ".join(f"{t} {p:.1%}" for t, p in proposals))

    corrupted = sentence.replace(word, fake, 1)
    inputs = tokenizer(corrupted, return_tensors="pt")
    fakeness = discriminator(**inputs).logits[0].sigmoid()
    print(f"\n{corrupted}    ({word!r} was replaced by {fake!r})")
    print("the discriminator's probability that each token is fake:")
    tokens = tokenizer.convert_ids_to_tokens(inputs.input_ids[0])
    for token, probability in zip(tokens, fakeness.tolist(), strict=True):
        print(f"  {token:<14} {probability:6.1%} {'#' * round(40 * probability)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
