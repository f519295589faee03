"""Trainer: one optimizer step, a held-out evaluation, and the state to go on from."""

import time
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from electra_cli.batch import Batch, PackedTokens, Share
from electra_cli.config import PretrainConfig
from electra_cli.data.counter_random import Purpose, hash_words
from electra_cli.errors import NonFiniteError
from electra_cli.metrics import Metrics, StepMetrics
from electra_cli.model.networks import load_parameters
from electra_cli.model.objectives.objective import Ranking, StepCounts, Trainable
from electra_cli.model.objectives.sums import Sums
from electra_cli.model.torch_private import set_update_skipped, zero_all
from electra_cli.training.device import (
    Compute,
    avoid_kernels_per_shape,
    keep_freed_memory,
    seed_dropout,
    set_float32_products,
)
from electra_cli.training.metric_sums import MetricSums
from electra_cli.training.optimizer import build_optimizer, learning_rate_at
from electra_cli.training.processes import ALONE, Processes
from electra_cli.training.reduction import Reduction
from electra_cli.training.run_state import TrainerState

Tensors = dict[str, dict[str, Tensor]]  # group, name

# Documents named when a loss is not finite: enough to look at.
_NAMED_DOCUMENTS = 8
# Steps after which a GPU is asked whether all losses were finite, where no row of the log is due
# before: the documents of so many steps are kept in memory.
_MOST_STEPS_UNCHECKED = 1_000


Model = TypeVar("Model", bound=Trainable)
Packed = TypeVar("Packed", bound=PackedTokens)


class Trainer(Generic[Model]):
    """Takes batches, makes optimizer steps. Prints nothing, writes nothing."""

    def __init__(
        self,
        model: Model,
        config: PretrainConfig,
        compute: Compute,
        processes: Processes = ALONE,
    ) -> None:
        """Of `config`, optim and run count: steps, and windows per step."""
        device = compute.device
        self.model: Model = model.to(device).train()
        self._parameters = list(self.model.parameters())  # to walk through modules takes time
        self._config = config
        self._compute = compute
        self._processes = processes
        set_float32_products(compute)
        if compute.is_on_cpu:
            keep_freed_memory()
            avoid_kernels_per_shape(compute)
        self._optimizer = build_optimizer(model, config.optim, model.rate_factors(config.optim))
        self._scaler = torch.amp.GradScaler(device.type, enabled=compute.precision == "fp16")
        self._sums = MetricSums(device)
        self._reduction = Reduction(self._parameters, processes)
        self._grad_norm = torch.zeros((), device=device)
        # The first step whose loss or gradient was not finite, 0 while there is none. It stays
        # on the device, where it also holds back every later update (under fp16 the scaler
        # decides, and state() refuses what comes after it), so no step waits for it.
        self._nonfinite_step = torch.zeros((), device=device)
        self._recent_documents: dict[int, Tensor] = {}
        self.step = 0  # completed optimizer steps
        self._tokens_seen = 0
        self._train_flops = 0.0
        self._elapsed_seconds = 0.0  # until the last flush
        self._seconds_since_flush = 0.0

    def train_step(self, batches: Iterator[Share[Packed] | Packed]) -> None:
        """Take the next batch and make one optimizer step; does not wait for a CUDA GPU.

        A batch that is not dealt yet is cut into micro-batches in its order.
        Raises NonFiniteError at once; on a CUDA GPU flush() or a later step raises it.
        """
        started = time.perf_counter()
        run, optim, device = self._config.run, self._config.optim, self._compute.device
        share = next(batches)
        if isinstance(share, PackedTokens):
            share = share.share(run.windows_per_pass)
        rate = learning_rate_at(self.step, optim, run.num_steps)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["rate_factor"]
        self._forget_gradients()

        counts = StepCounts(share.num_slots, share.num_tokens, self.step, run.num_steps)
        is_finite = torch.ones((), dtype=torch.bool, device=device)
        is_alone = self._processes.is_alone
        step_sums = self._sums if is_alone else MetricSums(device)
        for number, part in share.parts:
            # Dropout is a function of the micro-batch, too: no generator's state is ever saved.
            drawn = hash_words(run.seed, Purpose.DROPOUT, self.step, number)
            seed_dropout(device, int(drawn[0]))
            sums: Sums = {}
            with self._compute.autocast():
                for network in self.model.losses(part.to(device), counts):
                    self._backward(network.loss)
                    is_finite &= network.loss.detach().isfinite()
                    sums |= network.sums
            step_sums.add(sums, part.num_tokens, part.num_slots)
        if not is_alone:
            all_sums, is_finite = self._reduction.add_up(step_sums.named(), is_finite)
            self._sums.add(all_sums, share.num_tokens, share.num_slots)

        for parameter in self.model.idle_parameters(self.step):
            parameter.grad = None
        self._scaler.unscale_(self._optimizer)
        limit = float("inf") if optim.max_grad_norm is None else optim.max_grad_norm
        self._grad_norm = torch.nn.utils.clip_grad_norm_(self._parameters, limit)
        self.step += 1
        self._recent_documents[self.step] = share.document_ids
        # Under fp16 gradients overflow now and then: the scaler skips such an update by itself.
        if not self._scaler.is_enabled():
            is_finite = is_finite & self._grad_norm.isfinite()
        is_first = ~is_finite & (self._nonfinite_step == 0)
        self._nonfinite_step = torch.where(is_first, float(self.step), self._nonfinite_step)
        if self._scaler.is_enabled():
            self._scaler.step(self._optimizer)
            self._scaler.update()
        else:
            if self._compute.can_skip_updates:
                set_update_skipped(self._optimizer, self._nonfinite_step > 0)
            else:
                self._stop_if_nonfinite(int(self._nonfinite_step))
            self._optimizer.step()

        self._train_flops += self.model.flops_at(self.step - 1).count(
            share.num_tokens, share.num_slots, share.squared_lengths
        )
        self._tokens_seen += share.num_tokens
        if self._compute.is_on_cpu or len(self._recent_documents) == _MOST_STEPS_UNCHECKED:
            self._stop_if_nonfinite(int(self._nonfinite_step))
            self._recent_documents.clear()
        self._seconds_since_flush += time.perf_counter() - started

    def must_stop(self, wish: bool) -> bool:
        """Whether to stop after this step: all processes do, once one of them was asked to.

        `wish` is whether this one is asked to now.
        """
        return wish if self._processes.is_alone else self._reduction.stops

    def _forget_gradients(self) -> None:
        if self.model.keeps_gradients:
            zero_all([each.grad for each in self._parameters if each.grad is not None])
        else:
            self._optimizer.zero_grad()

    def _backward(self, loss: Tensor) -> None:
        with torch.autocast(self._compute.device.type, enabled=False):
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def _stop_if_nonfinite(self, bad_step: int) -> None:
        """Raise NonFiniteError unless the first bad step is 0: there is none."""
        if bad_step == 0:
            return
        documents = torch.unique(self._recent_documents[bad_step]).tolist()
        named = ", ".join(str(document) for document in documents[:_NAMED_DOCUMENTS])
        if len(documents) > _NAMED_DOCUMENTS:
            named += f" and {len(documents) - _NAMED_DOCUMENTS} more"
        raise NonFiniteError(
            f"the loss or gradient of step {bad_step} is not finite (training documents {named}); "
            "the weights are those before its update",
            hint="try a lower --learning-rate, more optim.num_warmup_steps, or --precision fp32; "
            "then start again or resume from the last checkpoint (run.on_nonfinite: skip skips "
            "single batches)",
            step=bad_step,
        )

    def flush(self, epoch: float) -> StepMetrics:
        """Metrics of the steps since the last flush: the only device sync in ordinary steps.

        Raises NonFiniteError if one of them had a loss or gradient that is not finite.
        """
        started = time.perf_counter()
        if not self._processes.is_alone and self._compute.device.type == "cuda":
            done: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]
            done.record()
            self._processes.watch.wait_for(done.query)
        sums = self._sums
        others = torch.stack([self._grad_norm, self._nonfinite_step])
        on_device = torch.cat([sums.values, others.to(sums.values.dtype)])
        *values, grad_norm, bad_step = on_device.cpu().tolist()  # one copy, so one wait
        self._stop_if_nonfinite(int(bad_step))
        self._recent_documents.clear()
        self._seconds_since_flush += time.perf_counter() - started
        self._elapsed_seconds += self._seconds_since_flush
        metrics = StepMetrics(
            step=self.step,
            epoch=epoch,
            tokens_seen=self._tokens_seen,
            train_flops=self._train_flops,
            elapsed_seconds=self._elapsed_seconds,
            objective=self.model.metrics(sums.on_host(values)),
            learning_rate=learning_rate_at(
                self.step - 1, self._config.optim, self._config.run.num_steps
            ),
            grad_norm=grad_norm,
            tokens_per_second=sums.num_tokens / self._seconds_since_flush,
        )
        sums.reset()
        self._seconds_since_flush = 0.0
        return metrics

    @torch.no_grad()
    def evaluate(self, batches: Sequence[Batch]) -> Metrics:
        """Means over held-out batches, without dropout; each process computes some of them."""
        self.model.eval()
        own = batches[self._processes.rank :: self._processes.count]
        sums = [MetricSums(self._compute.device) for _ in own]
        logits, labels, contents = (
            [torch.empty(0)],
            [torch.zeros(0).bool()],
            [torch.zeros(0).bool()],
        )
        place = (self.step, self._config.run.num_steps)
        for batch, batch_sums in zip(own, sums, strict=True):
            counts = StepCounts(batch.num_masked, batch.num_tokens, *place)
            counted: Sums = {}
            with self._compute.autocast():
                for network in self.model.losses(batch.to(self._compute.device), counts):
                    counted |= network.sums
                    if network.judgements is not None:
                        judged = network.judgements
                        logits.append(judged.logits.cpu())
                        labels.append(judged.is_replaced.cpu())
                        content, positions = ~batch.is_special, judged.positions
                        contents.append(content if positions is None else content[positions.cpu()])
            batch_sums.add(counted, batch.num_tokens, batch.num_masked)
        self.model.train()
        ranking = Ranking(
            *(self._processes.gather_rows(torch.cat(each)) for each in (logits, labels, contents))
        )
        by_rank = self._processes.exchange([s.on_host(s.values.tolist()) for s in sums])
        total: dict[str, float] = {}
        for number in range(len(batches)):  # in their order, so that rounding is always the same
            rank, at = number % self._processes.count, number // self._processes.count
            for name, value in by_rank[rank][at].items():
                total[name] = total.get(name, 0.0) + value
        metrics = self.model.metrics(total)
        return {**metrics, **self.model.ranking_metrics(ranking)}

    def state(self) -> TrainerState:
        """The state to continue from, except tensors().

        Raises NonFiniteError if an update was held back: no such state is ever saved.
        """
        self._stop_if_nonfinite(int(self._nonfinite_step))
        return TrainerState(
            step=self.step,
            tokens_seen=self._tokens_seen,
            train_flops=self._train_flops,
            elapsed_seconds=self._elapsed_seconds,
            seconds_since_row=self._seconds_since_flush,
            tokens_since_row=self._sums.num_tokens,
            masked_since_row=self._sums.num_masked,
            scaler=self._scaler.state_dict(),
        )

    def tensors(self) -> Tensors:
        """Weights, moments and sums, by reference: copy them before the next step."""
        moments: dict[str, Tensor] = {}
        for name, parameter in self._trained():
            for key in ("exp_avg", "exp_avg_sq"):
                moments[f"{key}.{name}"] = self._optimizer.state[parameter][key]
        return {
            "model": {n: p.detach() for n, p in self.model.named_parameters()},
            "optimizer": moments,
            "sums": self._sums.named(),
        }

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """By name; frozen ones have no moments."""
        return ((n, p) for n, p in self.model.named_parameters() if p.requires_grad)

    @torch.no_grad()
    def load(self, tensors: Tensors, state: TrainerState) -> None:
        """Go on where both were taken. Raises KeyError if a tensor is missing."""
        load_parameters(self.model, tensors["model"])
        for name, parameter in self._trained():
            for key in ("exp_avg", "exp_avg_sq"):
                moment = tensors["optimizer"][f"{key}.{name}"]
                self._optimizer.state[parameter][key].copy_(moment)
        self._sums.load(tensors["sums"], state.tokens_since_row, state.masked_since_row)
        self.step = state.step
        self._tokens_seen = state.tokens_seen
        self._train_flops = state.train_flops
        self._elapsed_seconds = state.elapsed_seconds
        self._seconds_since_flush = state.seconds_since_row
        # Empty if saved in another precision: fp16 scaling then starts from its default.
        if state.scaler:
            self._scaler.load_state_dict(dict(state.scaler))
        self._nonfinite_step.zero_()
        self._recent_documents.clear()
