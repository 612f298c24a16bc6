"""Two processes that share a batch against one process with all of it, and what their exchange costs."""

import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection

import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing
from torch.nn.parallel import DistributedDataParallel

from benchmarks.steps import BATCH, CLASSES, batch, our_step
from benchmarks.timing import Row, in_turns, rates
from configs import ModelSettings
from experiment.hardware import best_precision, configure_malloc
from lightning_modules.networks.layers import pool_before_relu
from lightning_modules.networks.registry import IMAGE_SIZES, build_network

PROCESSES = 2
EXCHANGES = 20  # sums of one number, of which one is too short to time


def two_processes(name: str, repeats: int) -> list[Row]:
    """Measure the network's step at full size shared by two processes, on half of the threads each, by DDP over gloo."""
    threads = torch.get_num_threads()
    size, precision = IMAGE_SIZES[name], best_precision()
    images, targets = batch(size)
    network = build_network(ModelSettings(name=name, dropout=0.0), CLASSES).to(memory_format=torch.channels_last)
    gradients = sum(weight.numel() for weight in network.parameters()) * 4 / 1e6
    configure_malloc()
    alone = our_step(network, images, targets, precision)
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(PROCESSES)]
    with tempfile.TemporaryDirectory() as folder:
        share = [
            context.Process(
                target=_share,
                args=(
                    rank,
                    name,
                    images[rank::PROCESSES],
                    targets[rank::PROCESSES],
                    precision,
                    max(1, threads // PROCESSES),
                    folder,
                    pipes[rank][1],
                ),
            )
            for rank in range(PROCESSES)
        ]
        for process in share:
            process.start()

        def ask(task: str) -> Callable[[], None]:
            def run() -> None:
                for ours, _ in pipes:
                    ours.send(task)
                for ours, _ in pipes:
                    ours.recv()

            return run

        try:
            one, two, sums, numbers = in_turns([alone, ask("step"), ask("gradients"), ask("number")], repeats)
        finally:
            ask("end")()
            for process in share:
                process.join()
    title = f"{name} step, {size} px, batch {BATCH}, {precision}"
    return [
        rates(f"{title}: two processes", two, one, BATCH, "images/s", f"times as fast as one with {threads} threads"),
        _share_of(f"{title}: two processes' sum of {gradients:.0f} MB of gradients", sums, two, 1),
        _share_of(f"{title}: two processes' sum of one number", numbers, two, EXCHANGES),
    ]


def _share_of(name: str, part: list[float], whole: list[float], times: int) -> Row:
    shares = sorted(100 * own / times / all_ for own, all_ in zip(part, whole, strict=True))
    middle = len(part) // 2
    milliseconds = 1e3 * sorted(part)[middle] / times, 1e3 * sorted(whole)[middle]
    return Row(name, *milliseconds, "ms", shares[middle], (shares[0], shares[-1]), "% of the two processes' step")


def _share(
    rank: int, name: str, images: Tensor, targets: Tensor, precision: str, threads: int, folder: str, parent: Connection
) -> None:
    """Do as one of the processes what ``parent`` asks for, until that is to end."""
    torch.set_num_threads(threads)
    configure_malloc()
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=PROCESSES)
    torch.manual_seed(0)
    network = build_network(ModelSettings(name=name, dropout=0.0), CLASSES).to(memory_format=torch.channels_last)
    forward = DistributedDataParallel(pool_before_relu(network))
    gradients = torch.zeros(sum(weight.numel() for weight in network.parameters()))
    number = torch.zeros(1)
    tasks: dict[str, Callable[[], object]] = {
        "step": our_step(network, images, targets, precision, forward),
        "gradients": lambda: dist.all_reduce(gradients),
        "number": lambda: [dist.all_reduce(number) for _ in range(EXCHANGES)],
    }
    while (task := parent.recv()) != "end":
        tasks[task]()
        parent.send("done")
    dist.destroy_process_group()
    parent.send("done")
