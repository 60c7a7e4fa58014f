"""The optimiser of a network: which parameters it trains, and each part's learning rate."""

from __future__ import annotations

import torch
from torch import nn

from ser.base.errors import SerError
from ser.training.options import TrainOptions


def freeze(network: nn.Module, options: TrainOptions) -> None:
    """Keep the parameters that `options.freeze` names from being trained.

    Raises:
        SerError: a word is the beginning of no parameter's name.
    """
    for prefix in options.freeze.split():
        for parameter in _named(network, prefix, "freeze"):
            parameter.requires_grad_(False)


def set_training(network: nn.Module, options: TrainOptions) -> None:
    """Put the network into training mode, but for its frozen modules, whose norms and dropout stay as evaluated."""
    network.train()
    frozen = options.freeze.split()
    for name, module in network.named_modules():
        if any(_begins(name, prefix) for prefix in frozen):
            module.eval()


def make_optimiser(network: nn.Module, options: TrainOptions) -> torch.optim.Optimizer:
    """Return the optimiser of all parameters that are not frozen; each of its groups has a `base_rate`.

    The longest prefix of `options.rates` that fits a parameter decides its rate, and `options.learning_rate` where
    none does.

    Raises:
        SerError: a prefix fits no parameter, or every parameter is frozen.
    """
    rates = options.rates_by_prefix()
    for prefix in rates:
        _named(network, prefix, "rates")
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            fitting = [prefix for prefix in rates if _begins(name, prefix)]
            rate = rates[max(fitting, key=len)] if fitting else options.learning_rate
            groups.setdefault(rate, []).append(parameter)
    if not groups:
        raise SerError(f"freeze: {options.freeze!r} leaves no parameter to train")
    listed = [{"params": parameters, "lr": rate, "base_rate": rate} for rate, parameters in groups.items()]
    decay = options.weight_decay
    if options.optimiser == "sgd":
        return torch.optim.SGD(listed, momentum=options.momentum, weight_decay=decay)
    kind = torch.optim.Adam if options.optimiser == "adam" else torch.optim.AdamW
    return kind(listed, betas=(options.beta1, options.beta2), weight_decay=decay)


def set_rate_factor(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's learning rate to its base rate times a factor."""
    for group in optimiser.param_groups:
        group["lr"] = group["base_rate"] * factor


def _begins(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def _named(network: nn.Module, prefix: str, option: str) -> list[nn.Parameter]:
    found = [parameter for name, parameter in network.named_parameters() if _begins(name, prefix)]
    if not found:
        parts = ", ".join(dict.fromkeys(name.partition(".")[0] for name, _ in network.named_parameters()))
        raise SerError(f"{option}: the network has no part {prefix!r}; its parts are {parts}")
    return found
