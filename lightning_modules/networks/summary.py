"""What a network consists of: shapes, parameters and multiply-adds (MACs) of each layer, without running it."""

import copy
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import nn


@dataclass(frozen=True)
class LayerSummary:
    """One layer: its name and kind, the shape of its output (without N), its parameters and multiply-adds per image."""

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    macs: int


def summarize_layers(network: nn.Sequential, image_size: int) -> list[LayerSummary]:
    """Return a row for each layer, for images (3, image_size, image_size).

    Multiply-adds are those of convolutions and dense layers: (weights of one filter) times (values of the output).
    """
    rows = []
    value = torch.empty(1, 3, image_size, image_size, device="meta")
    for name, layer in copy.deepcopy(network).to("meta").eval().named_children():
        value = layer(value)
        weight = getattr(layer, "weight", None)
        counts = isinstance(layer, nn.Conv2d | nn.Linear) and weight is not None
        rows.append(
            LayerSummary(
                name,
                type(layer).__name__,
                tuple(value.shape[1:]),
                sum(parameter.numel() for parameter in layer.parameters()),
                weight[0].numel() * value.numel() if counts and weight is not None else 0,
            )
        )
    return rows


def layer_table(rows: list[LayerSummary], title: str) -> Table:
    """Build a table of the rows for the terminal, with totals."""
    table = Table(title=Text(title, style="table.title"), show_footer=True, header_style="")
    parameters = sum(row.parameters for row in rows)
    macs = sum(row.macs for row in rows)
    table.add_column("layer", "total")
    table.add_column("kind")
    table.add_column("shape", justify="right")
    table.add_column("parameters", f"{parameters:,}", justify="right")
    table.add_column("multiply-adds", f"{macs:,}", justify="right")
    for row in rows:
        shape = " x ".join(map(str, row.shape))
        table.add_row(row.name, row.kind, shape, _or_blank(row.parameters), _or_blank(row.macs))
    return table


def print_layer_table(network: nn.Sequential, image_size: int, title: str) -> None:
    """Print the table of a network for square images of this side."""
    Console().print(layer_table(summarize_layers(network, image_size), title))


def _or_blank(number: int) -> str:
    return f"{number:,}" if number else ""
