"""An LSTM per modality, and a memory of the changes that they share (MFN)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from counterpoise.core.batch import Lazy
from counterpoise.core.declared import Dropout, Width
from counterpoise.core.names import ByModality
from counterpoise.core.presence import every, some
from counterpoise.errors import unknown

from .base import Fusion, weights
from .recurrent import one_length


class MemoryFusion(Fusion):
    """Memory fusion network (MFN): attention to changes of LSTM cells, kept in a gated memory.

    Zadeh, Liang, Mazumder, Poria, Cambria, Morency: Memory Fusion Network for Multi-view
    Sequential Learning, AAAI 2018, arXiv 1802.00927.

    At each step ``t``, with the cells ``c_m^t`` and outputs ``h_m^t`` of an LSTM for each modality:

    1. ``q = [c_1^(t-1); ..; c_M^(t-1); c_1^t; ..; c_M^t]``, ``a = softmax(A(q)) * q``, the softmax
       over the entries of ``q``.
    2. ``v = tanh(V(a))``, the proposal for the memory.
    3. ``u := sigmoid(R([a; u])) * u + sigmoid(S([a; u])) * v``, the memory, from 0.

    ``f = O([h_1^T; ..; h_M^T; u^T])``. Each of ``A, V, R, S, O`` has one hidden layer with ReLU.
    The cells of a modality that a sample lacks stay 0 and get no attention. Pad short sequences at
    the front, so that the last steps are real ones.

    The defaults are the settings for MOSI in the code of Magal et al., arXiv 2501.00865, which
    creates its first states on the CPU, whatever the device of the inputs.

    Args:
        widths: modality -> width of its features [B, T, D], of one length ``T``.
        outputs: width of the logits, ``K``.
        unimodal: ``"ablate"`` or ``"aux"``, see :class:`Fusion`.
        hidden: width of the cells, for all or by modality. By default 128 for the widest features
            and 32 for others.
        memory: width of ``u``.
        attention: number of hidden units of ``A``.
        proposal: number of hidden units of ``V``.
        retain: number of hidden units of ``R``.
        update: number of hidden units of ``S``.
        head: number of hidden units of ``O``.
        dropout: rate of dropout on the hidden units of ``V`` and ``S``.
        head_dropout: rate of dropout on the hidden units of ``O``.
    """

    policies = ("ablate", "aux")
    steps = True

    def __init__(
        self,
        widths: Mapping[str, int],
        outputs: int,
        unimodal: str = "ablate",
        *,
        hidden: Width | Mapping[str, Width] | None = None,
        memory: Width = 128,
        attention: Width = 128,
        proposal: Width = 64,
        retain: Width = 256,
        update: Width = 64,
        head: Width = 64,
        dropout: Dropout = 0.2,
        head_dropout: Dropout = 0.5,
    ) -> None:
        super().__init__(widths, outputs, unimodal)
        self.hidden = self._choose_hidden(hidden)
        self.cells = ByModality({m: nn.LSTMCell(w, self.hidden[m]) for m, w in self.widths.items()})
        total = sum(self.hidden.values())
        self.memory, self.split = memory, [retain, update]
        self.attention = _make_layers(2 * total, attention, 2 * total, 0.0)
        self.proposal = _make_layers(2 * total, proposal, memory, dropout)
        self.gates = nn.Linear(2 * total + memory, retain + update)  # hidden layers of both gates
        self.retain = nn.Linear(retain, memory)
        self.update = nn.Sequential(nn.Dropout(dropout), nn.Linear(update, memory))
        self.head = _make_layers(total + memory, head, outputs, head_dropout)

    def _choose_hidden(self, hidden: int | Mapping[str, int] | None) -> dict[str, int]:
        widest = max(self.widths.values())
        found = {m: 128 if w == widest else 32 for m, w in self.widths.items()}
        given = hidden if isinstance(hidden, Mapping) else {}
        if hidden is not None and not isinstance(hidden, Mapping):
            given = dict.fromkeys(self.widths, hidden)
        for name in given:
            if name not in self.widths:
                raise unknown("modality in hidden", name, self.widths)
        return found | dict(given)

    def own_parts(self, name: str) -> list[nn.Module]:
        return [self.cells[name]]

    def logits(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], shares: Lazy
    ) -> Tensor:
        cells, last, here = self._compute_states(features, present)
        before = F.pad(cells[:, :-1], (0, 0, 1, 0))
        changes = torch.cat([before, cells], 2)
        scores = self.attention(changes)
        if not all(every(present[m]) for m in self.widths):
            # The lowest number, not infinity: a sample with no modality at all must stay finite.
            gone = torch.cat([here, here], 1)[:, None] == 0
            scores = scores.masked_fill(gone, torch.finfo(scores.dtype).min)
        attended = scores.softmax(2) * changes
        memory = self._remember(attended, self.proposal(attended).tanh())
        return cast(Tensor, self.head(torch.cat([last, memory], 1)))

    def _compute_states(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The cells [B, T, H] of all modalities, the last outputs [B, H], and where they are."""
        like, steps = features[next(iter(self.widths))], one_length(self, features, present)
        size, used = like.shape[0], [m for m in self.widths if some(present[m])]
        blank = {m: like.new_zeros(size, steps, h) for m, h in self.hidden.items()}
        states, outputs = dict(blank), {m: z[:, -1] for m, z in blank.items()}
        masks = {m: weights(present[m], like).expand(-1, h) for m, h in self.hidden.items()}
        if used:
            widths = [self.hidden[m] for m in used]
            cells, last = self._run({m: features[m] for m in used})
            here = torch.cat([masks[m] for m in used], 1)
            cells, last = cells * here[:, None], last * here
            states |= zip(used, torch.split(cells, widths, 2), strict=True)
            outputs |= zip(used, torch.split(last, widths, 1), strict=True)
        parts = ((states, 2), (outputs, 1), (masks, 1))
        first, second, third = (torch.cat([d[m] for m in self.widths], k) for d, k in parts)
        return first, second, third

    def _run(self, features: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The LSTMs of some modalities: their cells [B, T, H], the last outputs [B, H]."""
        cells = [cast(nn.LSTMCell, self.cells[m]) for m in features]
        pairs = zip(features.values(), cells, strict=True)
        # All steps at once, and then side by side: one product a step does for all modalities.
        inputs = [F.linear(z, c.weight_ih, c.bias_ih + c.bias_hh) for z, c in pairs]
        given = torch.cat([x.view(*x.shape[:2], 4, -1) for x in inputs], 3).unbind(1)
        own = zip(*(c.weight_hh.chunk(4) for c in cells), strict=True)
        recurrent = torch.cat([torch.block_diag(*g) for g in own])
        h = c = given[0].new_zeros(given[0].shape[0], given[0].shape[2])
        found = []
        for x in given:
            i, f, g, o = (x + F.linear(h, recurrent).view(x.shape)).unbind(1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            found.append(c)
        return torch.stack(found, 1), h

    def _remember(self, attended: Tensor, proposed: Tensor) -> Tensor:
        """The memory [B, D] after the last step, from ``a`` [B, T, 2H] and ``v`` [B, T, D]."""
        of_change, of_memory = torch.split(self.gates.weight, [attended.shape[2], self.memory], 1)
        known = F.linear(attended, of_change, self.gates.bias)
        memory = proposed.new_zeros(proposed.shape[0], self.memory)
        for x, v in zip(known.unbind(1), proposed.unbind(1), strict=True):
            hidden = (x + F.linear(memory, of_memory)).relu()
            old, new = torch.split(hidden, self.split, 1)
            memory = self.retain(old).sigmoid() * memory + self.update(new).sigmoid() * v
        return memory


def _make_layers(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, outputs)
    )
