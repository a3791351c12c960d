#!/usr/bin/python3
"""Makes the checkpoints that torch_checkpoint_test.cc reads, in this folder.

    apt-get install python3-torch   # Debian 12's: 1.13
    /usr/bin/python3 artifact/testdata/make_testdata.py

The same version of PyTorch makes the same bytes, but for the legacy files, whose storage keys are addresses. What the
tensors hold is written down once more in torch_checkpoint_test.cc.
"""

import collections
import os

import torch

FOLDER = os.path.dirname(os.path.abspath(__file__))


def save(name, value, legacy=False, **options):
    torch.save(value, os.path.join(FOLDER, name), _use_new_zipfile_serialization=not legacy, **options)


def ramp(*shape, dtype=torch.float32):
    """0.5, 1.5, 2.5, ... exact in every floating type; whole numbers count 0, 1, 2, ..."""
    count = 1
    for extent in shape:
        count *= extent
    numbers = torch.arange(count, dtype=torch.float64).reshape(shape)
    return (numbers + 0.5 if dtype.is_floating_point else numbers).to(dtype)


def network():
    """A convolution and a batch norm as a module names them, num_batches_tracked included."""
    torch.manual_seed(1)
    module = torch.nn.Sequential(
        collections.OrderedDict(conv=torch.nn.Conv2d(2, 3, 3, bias=False), bn=torch.nn.BatchNorm2d(3)))
    with torch.no_grad():
        module.conv.weight.copy_(ramp(3, 2, 3, 3))
        module.bn.num_batches_tracked.fill_(7)
    return module


def types():
    names = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8"]
    tensors = {name: ramp(2, 3, dtype=getattr(torch, name)) for name in names}
    tensors["bool"] = torch.tensor([True, False, True])
    tensors["complex64"] = torch.tensor([1 + 2j], dtype=torch.complex64)
    tensors["scalar"] = torch.tensor(2.5)
    tensors["empty"] = torch.zeros(0, 4)
    return tensors


def views():
    base = ramp(4, 6)
    return {
        "base": base,
        "transposed": base.t(),
        "rows": base[1:3],
        "column": base[:, 2],
        "block": base[1:4:2, 1:6:3],
        "permuted": ramp(2, 3, 4).permute(2, 0, 1),
        "expanded": torch.tensor([[1.5], [2.5]]).expand(2, 3),
        "channels_last": ramp(1, 3, 2, 2).contiguous(memory_format=torch.channels_last),
        "tied": base,
    }


def training():
    """What a training script saves: the model beside everything else."""
    module = network()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4])  # holds a collections.Counter
    module(torch.ones(2, 2, 4, 4)).sum().backward()
    optimizer.step()
    module.load_state_dict(network().state_dict())
    return {
        "epoch": 12,
        "arch": "tiny",
        "best": 0.75,
        "history": [1, 2.5, None, True, "text", (1, 2)],
        "seen": {1, 2},
        "big": 1 << 100,
        "raw": b"bytes",
        "size": torch.Size([1, 2]),
        "dtype": torch.float16,
        "device": torch.device("cpu"),
        "model": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": {key: value for key, value in scheduler.state_dict().items() if key != "_get_lr_called_within_step"},
        "rng": torch.arange(16, dtype=torch.uint8),
    }


class Shell:
    """Runs a command when Python unpickles it."""

    def __reduce__(self):
        return os.system, ("touch /tmp/lowbit_was_run",)


class Custom:
    def __init__(self):
        self.weight = torch.ones(1)


def main():
    state = network().state_dict()
    for form, legacy in (("zip", False), ("legacy", True)):
        save(form + "_plain.pt", state, legacy)
        save(form + "_types.pt", types(), legacy)
        save(form + "_views.pt", views(), legacy)
        save(form + "_training.pt", training(), legacy)
        save(form + "_state_dict.pt", {"state_dict": state, "epoch": 3}, legacy)
        save(form + "_model.pt", {"epoch": 3, "model": state}, legacy)
        save(form + "_net.pt", {"net": state, "acc": 91.5}, legacy)
        save(form + "_module_prefix.pt", {"net": torch.nn.DataParallel(network()).state_dict()}, legacy)
        save(form + "_parameter.pt", {"weight": torch.nn.Parameter(ramp(2, 2)), "note": "x"}, legacy)
        save(form + "_protocol4.pt", {"state_dict": state}, legacy, pickle_protocol=4)
        save(form + "_shell.pt", {"model": state, "extra": Shell()}, legacy)
        save(form + "_custom_class.pt", {"model": state, "config": Custom()}, legacy)
        save(form + "_tensor.pt", ramp(2), legacy)
        save(form + "_nan.pt", {"weight": torch.tensor([1.0, float("nan"), float("inf")])}, legacy)
    save("zip_whole_module.pt", network())  # a legacy one would contain the source text of the module's class
    torch.jit.save(torch.jit.script(torch.nn.Identity()), os.path.join(FOLDER, "torchscript.pt"))


if __name__ == "__main__":
    main()
