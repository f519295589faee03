"""`electra_masked_only`: the discriminator judges the masked positions alone.

The paper's "ELECTRA 15%" (Clark et al. 2020, section 3.4).
"""

from electra_cli.model.objectives.electra import ElectraObjective


class MaskedOnlyObjective(ElectraObjective):
    """Replaced token detection at the masked positions."""

    reads_all_tokens = False


OBJECTIVE = MaskedOnlyObjective
