"""The training loop: one step, a held-out evaluation, and the state to go on from."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from electra_cli.batch import Batch
from electra_cli.config import PretrainConfig
from electra_cli.errors import NonFiniteError
from electra_cli.metrics import EvalMetrics, StepMetrics
from electra_cli.model.cost.flops import TrainingFlops
from electra_cli.model.objectives.electra import Pretrainer
from electra_cli.training.device import (
    Precision,
    autocast,
    get_random_state,
    keep_freed_memory,
    set_float32_products,
    set_random_state,
)
from electra_cli.training.metric_sums import MetricWindow, area_under_curve, mean_metrics
from electra_cli.training.optimizer import build_optimizer, learning_rate_at

# Documents named when a loss is not finite: enough to look at.
_NAMED_DOCUMENTS = 8


@dataclass(frozen=True)
class TrainingState:
    """All that a run needs to go on as if nothing had happened."""

    tensors: dict[str, dict[str, Tensor]]  # group, name
    values: dict[str, Any]  # plain numbers and lists, as JSON holds them


class Trainer:
    """Takes batches, makes optimizer steps. Prints nothing, writes nothing."""

    def __init__(
        self,
        model: Pretrainer,
        config: PretrainConfig,
        flops: TrainingFlops,
        device: torch.device,
        precision: Precision,
    ) -> None:
        self.model = model.to(device).train()
        self._config = config
        self._flops = flops
        self.device = device
        self._precision = precision
        set_float32_products(device, precision)
        if device.type == "cpu":
            keep_freed_memory()
        self._optimizer = build_optimizer(model, config.optim)
        self._scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        self._window = MetricWindow(device)
        self._grad_norm = torch.zeros((), device=device)
        # The first step whose loss or gradient was not finite, 0 while there is none. It stays
        # on the device, where it also holds back every later update (under fp16 the scaler
        # decides, and state() refuses what comes after it), so no step waits for it.
        self._nonfinite_step = torch.zeros((), device=device)
        self._recent_documents: dict[int, Tensor] = {}
        self.step = 0
        self._tokens_seen = 0
        self._train_flops = 0.0
        self._elapsed_seconds = 0.0
        self._window_seconds = 0.0

    def steps(self, batches: Iterable[Batch], until: int) -> Iterator[int]:
        """Train until `until` steps are completed; yields the number after each."""
        source = iter(batches)
        while self.step < until:
            started = time.perf_counter()
            self.train_step(next(source))
            if self.device.type == "cpu":
                self._stop_if_nonfinite(int(self._nonfinite_step))
            self._window_seconds += time.perf_counter() - started
            yield self.step

    def train_step(self, batch: Batch) -> None:
        """One optimizer step over a whole batch, in micro-batches; the device is not awaited."""
        run, optim = self._config.run, self._config.optim
        rate = learning_rate_at(self.step, optim, run.num_steps)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad(set_to_none=True)
        finite = torch.ones((), dtype=torch.bool, device=self.device)
        for part in batch.split(run.windows_per_pass):
            with autocast(self.device, self._precision):
                output = self.model(
                    part.to(self.device), batch.num_masked, batch.num_tokens, self._backward
                )
            self._backward(output.loss)
            self._window.add(output.sums, part.num_tokens, part.num_masked)
            finite &= output.loss.detach().isfinite()
        self._scaler.unscale_(self._optimizer)
        limit = float("inf") if optim.max_grad_norm is None else optim.max_grad_norm
        self._grad_norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        self.step += 1
        self._update(finite)

        lengths = batch.cu_seqlens.diff().long()
        squared_lengths = int((lengths * lengths).sum())
        self._train_flops += self._flops.count(batch.num_tokens, batch.num_masked, squared_lengths)
        self._tokens_seen += batch.num_tokens
        self._recent_documents[self.step] = batch.document_ids

    def _backward(self, loss: Tensor) -> None:
        with torch.autocast(self.device.type, enabled=False):
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def _update(self, finite: Tensor) -> None:
        """Take the optimizer step unless something is not finite."""
        if not self._scaler.is_enabled():
            finite = finite & self._grad_norm.isfinite()
        # Under fp16 gradients overflow now and then: the scaler skips such an update by itself.
        is_first = ~finite & (self._nonfinite_step == 0)
        self._nonfinite_step = torch.where(is_first, float(self.step), self._nonfinite_step)
        if self._scaler.is_enabled():
            self._scaler.step(self._optimizer)
            self._scaler.update()
        else:
            # Fused AdamW leaves weights and moments alone where found_inf is 1.
            self._optimizer.found_inf = (  # type: ignore[attr-defined]
                self._nonfinite_step > 0
            ).float()
            self._optimizer.step()

    def _stop_if_nonfinite(self, bad_step: int) -> None:
        """Raise NonFiniteError unless the first bad step is 0: there is none."""
        if bad_step == 0:
            return
        documents = torch.unique(self._recent_documents[bad_step]).tolist()
        named = ", ".join(str(document) for document in documents[:_NAMED_DOCUMENTS])
        more = f" and {len(documents) - _NAMED_DOCUMENTS} more" * (
            len(documents) > _NAMED_DOCUMENTS
        )
        raise NonFiniteError(
            f"the loss or gradient of step {bad_step} is not finite (training documents "
            f"{named}{more}); the weights are those before its update",
            hint="try a lower --learning-rate, more optim.num_warmup_steps, or --precision fp32; "
            "then start again or resume from the last checkpoint (run.on_nonfinite: skip passes "
            "over single batches)",
            step=bad_step,
        )

    def flush(self, epoch: float) -> StepMetrics:
        """Metrics of the steps since the last flush: the only device sync in training.

        Raises NonFiniteError if one of them had a loss or gradient that is not finite.
        """
        started = time.perf_counter()
        window = self._window
        others = torch.stack([self._grad_norm, self._nonfinite_step])
        on_device = torch.cat([window.sums, others.to(window.sums.dtype)])
        *sums, grad_norm, bad_step = on_device.cpu().tolist()  # one copy, so one wait
        self._stop_if_nonfinite(int(bad_step))
        means = mean_metrics(sums, window.num_tokens, window.num_masked)
        self._recent_documents.clear()
        self._window_seconds += time.perf_counter() - started
        self._elapsed_seconds += self._window_seconds
        metrics = StepMetrics(
            step=self.step,
            epoch=epoch,
            tokens_seen=self._tokens_seen,
            train_flops=self._train_flops,
            elapsed_seconds=self._elapsed_seconds,
            loss=self._weighted_loss(means),
            learning_rate=learning_rate_at(
                self.step - 1, self._config.optim, self._config.run.num_steps
            ),
            grad_norm=grad_norm,
            tokens_per_second=window.num_tokens / self._window_seconds,
            **means,
        )
        window.reset()
        self._window_seconds = 0.0
        return metrics

    def _weighted_loss(self, means: dict[str, float | None]) -> float:
        objective = self._config.objective
        main_loss = means["rtd_loss"] or means["word_loss"] or 0.0  # no objective has both
        return (
            objective.generator_loss_weight * (means["mlm_loss"] or 0.0)
            + objective.discriminator_loss_weight * main_loss
        )

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch], unigram_entropy: float) -> EvalMetrics:
        """Losses and the discriminator's ranking on held-out batches, without dropout."""
        self.model.eval()
        window = MetricWindow(self.device)
        nothing = torch.empty(0)
        scores, labels, contents = [nothing], [nothing.bool()], [nothing.bool()]
        for batch in batches:
            with autocast(self.device, self._precision):
                output = self.model(batch.to(self.device), batch.num_masked, batch.num_tokens)
            window.add(output.sums, batch.num_tokens, batch.num_masked)
            if output.judgements is not None:
                logits, is_replaced, positions = output.judgements
                scores.append(logits.cpu())
                labels.append(is_replaced.cpu())
                is_content = ~batch.is_special
                contents.append(is_content if positions is None else is_content[positions.cpu()])
        self.model.train()
        means = mean_metrics(window.sums.tolist(), window.num_tokens, window.num_masked)
        score, label, content = torch.cat(scores), torch.cat(labels), torch.cat(contents)
        return EvalMetrics(
            loss=self._weighted_loss(means),
            unigram_entropy=unigram_entropy,
            rtd_auc=area_under_curve(score, label),
            rtd_content_auc=area_under_curve(score[content], label[content]),
            **means,
        )

    def state(self) -> TrainingState:
        """A snapshot by reference: copy it before the next step.

        Raises NonFiniteError if an update was held back: no such state is ever saved.
        """
        self._stop_if_nonfinite(int(self._nonfinite_step))
        moments: dict[str, Tensor] = {}
        for name, parameter in self.model.named_parameters():
            for key in ("exp_avg", "exp_avg_sq"):
                moments[f"{key}.{name}"] = self._optimizer.state[parameter][key]
        return TrainingState(
            tensors={
                "model": {n: p.detach() for n, p in self.model.named_parameters()},
                "optimizer": moments,
                "random": get_random_state(self.device),
                "window": {"sums": self._window.sums},
            },
            values={
                "step": self.step,
                "tokens_seen": self._tokens_seen,
                "train_flops": self._train_flops,
                "elapsed_seconds": self._elapsed_seconds,
                "window_seconds": self._window_seconds,
                "window_tokens": self._window.num_tokens,
                "window_masked": self._window.num_masked,
                "scaler": self._scaler.state_dict(),
            },
        )

    @torch.no_grad()
    def load_state(self, state: TrainingState) -> None:
        """Go on where state() was called. Raises KeyError if a tensor is missing."""
        for name, parameter in self.model.named_parameters():
            parameter.copy_(state.tensors["model"][name])
            for key in ("exp_avg", "exp_avg_sq"):
                moment = state.tensors["optimizer"][f"{key}.{name}"]
                self._optimizer.state[parameter][key].copy_(moment)
        set_random_state(state.tensors["random"], self.device)
        self._window.sums.copy_(state.tensors["window"]["sums"])
        values = state.values
        self.step = values["step"]
        self._tokens_seen = values["tokens_seen"]
        self._train_flops = values["train_flops"]
        self._elapsed_seconds = values["elapsed_seconds"]
        self._window_seconds = values["window_seconds"]
        self._window.num_tokens = values["window_tokens"]
        self._window.num_masked = values["window_masked"]
        # Empty from a run in another precision: fp16 then begins to scale anew.
        if values["scaler"]:
            self._scaler.load_state_dict(values["scaler"])
        self._nonfinite_step.zero_()
        self._recent_documents.clear()
