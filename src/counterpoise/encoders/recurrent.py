"""Recurrent networks both ways over padded sequences, without packing, which cannot be exported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def read_both_ways(network: nn.RNNBase, rows: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """What a bidirectional network gives for packed sequences, in evaluation mode.

    The backward direction reads each sequence from its own last step.

    Args:
        network: an ``nn.LSTM`` or ``nn.GRU`` with ``batch_first`` and biases.
        rows: [B, T, C].
        real: bool [B, T], the steps that count: the first ones of each sequence, at least one.

    Returns:
        The states of the last layer [B, T, 2 * H], zeros where there is padding; and those of
        each direction after the last step that it reads, [B, 2 * H].
    """
    last = real.sum(1, keepdim=True) - 1
    places = torch.arange(rows.shape[1], device=rows.device)
    turned = (last - places).clamp(min=0)
    states, ends = rows, []
    for layer in range(network.num_layers):
        ahead = _read(network, states, layer, "")
        behind = _read(network, _take(states, turned), layer, "_reverse")
        ends = [_take(ahead, last)[:, 0], _take(behind, last)[:, 0]]
        both = torch.cat([ahead, _take(behind, turned)], 2)
        states = both.masked_fill(~real[:, :, None], 0)
    return states, torch.cat(ends, 1)


def _take(states: Tensor, places: Tensor) -> Tensor:
    """[B, T, D] and places [B, S] -> [B, S, D]."""
    return states.gather(1, places[:, :, None].expand(-1, -1, states.shape[2]))


def _read(network: nn.RNNBase, rows: Tensor, layer: int, direction: str) -> Tensor:
    """The states [B, T, H] of one direction of one layer."""
    parts = [f"weight_ih_l{layer}", f"weight_hh_l{layer}", f"bias_ih_l{layer}", f"bias_hh_l{layer}"]
    weights = [getattr(network, part + direction) for part in parts]
    start = rows.new_zeros(1, rows.shape[0], network.hidden_size)
    run: Callable[..., Any] = getattr(torch, network.mode.lower())  # lstm, gru, rnn_tanh
    state = (start, start) if network.mode == "LSTM" else start
    states: Tensor = run(rows, state, weights, True, 1, 0.0, False, False, True)[0]
    return states
