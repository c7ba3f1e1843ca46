"""A Decoder spread over the processes of a run, on PyTorch's own engine: FSDP2, HSDP, tensor parallel.

Every block is a unit of `fully_shard`: its weights are gathered when it computes and let go of again; embeddings,
last norm and head are one more unit. Tensor parallel splits the matrices of a block by heads and by rows of the MLP
(Megatron-LM, arXiv:1909.08053): q, k and v are weights of their own in the Decoder, so that a share of each is whole
heads. What a whole weight is depends on nothing of this: states and models are the same however they were spread.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    PrepareModuleInput,
    RowwiseParallel,
    parallelize_module,
)

from haina.model.config import ModelConfig
from haina.model.decoder import Alibi, Decoder
from haina.options.training import TrainOptions
from haina.wording import say


def spread(config: ModelConfig, options: TrainOptions, mesh: DeviceMesh) -> Decoder:
    """A Decoder of which this process holds its share, with the first weights of the run: the same ones in any world.

    mesh: replicas × shards × tensor. One whole weight at a time is in memory. ValueError: the heads or the MLP
    cannot be split so.
    """
    require_shares(config, mesh.size(2))
    with torch.device("meta"):
        decoder = Decoder(config)
    split(decoder, options, mesh)
    decoder.to_empty(device=mesh.device_type)
    for weight, first in decoder.first_weights(seed=options.seed):
        fill(weight.detach(), first)
    return decoder


def split(decoder: Decoder, options: TrainOptions, mesh: DeviceMesh) -> None:
    """Make every weight of the decoder a share of it."""
    if mesh.size(2) > 1:
        share_heads(decoder, mesh["tensor"])
    data = mesh["replica", "shard"] if mesh.size(0) > 1 else mesh["shard"]
    # The state between blocks stays as it is, fp32; so do embeddings and head, which autocast takes care of.
    half = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    policy = half if options.precision == "bf16" else MixedPrecisionPolicy()
    for block in decoder.model.layers:
        fully_shard(block, mesh=data, mp_policy=policy)
    fully_shard(decoder, mesh=data)
    register_fsdp_forward_method(decoder, "hidden")  # what objectives call


def share_heads(decoder: Decoder, mesh: DeviceMesh) -> None:
    """Give each process of the mesh its heads and its rows of the MLP; ALiBi's slopes are those of its heads."""
    # It would warn that a matrix split twice is put together in two exchanges.
    logging.getLogger("torch.distributed.tensor._redistribute").setLevel(logging.ERROR)
    once = PrepareModuleInput(input_layouts=(Replicate(), None), desired_input_layouts=(Replicate(), None))
    plan = {
        "self_attn": once,  # so that the gradients for q, k and v are summed before they are exchanged
        **{f"self_attn.{name}_proj": ColwiseParallel() for name in "qkv"},
        "self_attn.o_proj": RowwiseParallel(),
        "mlp": PrepareModuleInput(input_layouts=(Replicate(),), desired_input_layouts=(Replicate(),)),
        "mlp.gate_proj": ColwiseParallel(),
        "mlp.up_proj": ColwiseParallel(),
        "mlp.down_proj": RowwiseParallel(),
    }
    for block in decoder.model.layers:
        parallelize_module(block, mesh, plan)
    position, heads = decoder.model.position, decoder.config.num_attention_heads // mesh.size()
    if isinstance(position, Alibi):
        first = heads * mesh.get_local_rank()
        position.slopes = position.slopes[first : first + heads]


def require_shares(config: ModelConfig, count: int) -> None:
    """ValueError if heads or MLP cannot be split into so many equal shares, or the network is none that we split."""
    whole = math.gcd(config.num_attention_heads, config.num_key_value_heads, config.intermediate_size)
    if whole % count:
        heads = math.gcd(config.num_attention_heads, config.num_key_value_heads)
        fit = ", ".join(str(n) for n in range(1, whole + 1) if whole % n == 0)
        raise ValueError(
            say(
                f"{heads} heads and {config.intermediate_size} rows cannot be split into {count} equal shares; "
                f"--tensor-parallel may be {fit}",
                f"{heads} 个头与 {config.intermediate_size} 行无法等分为 {count} 份；--tensor-parallel 可取 {fit}",
            )
        )
    if config.tie_word_embeddings or (count > 1 and (config.qkv_bias or config.qk_norm)):
        raise ValueError(
            say(
                "tied embeddings, and with --tensor-parallel biases and norms of q and k, cannot be spread over "
                "processes yet; train this model in one",
                "暂不支持多进程训练共享词嵌入的模型，张量并行也不支持 q、k 的偏置与归一化；请用单进程训练",
            )
        )


def fill(target: Tensor, whole: Tensor) -> None:
    """Copy a whole tensor into `target`, which may be this process's share of it. Nothing is exchanged."""
    if isinstance(target, DTensor):
        whole = distribute_tensor(
            whole.to(target.device), target.device_mesh, target.placements, src_data_rank=None
        )
    target.copy_(whole)


def whole(tensor: Tensor) -> Tensor:
    """The tensor of which this process may hold a share; all processes must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def whole_weights(decoder: Decoder) -> Iterator[tuple[str, Tensor]]:
    """Every whole weight by name, one at a time in memory; all processes must ask."""
    for name, weight in decoder.named_parameters():
        yield name, whole(weight.detach())


def own_heads(decoder: Decoder) -> ModelConfig:
    """The network as this process computes it: with those heads that are its own."""
    config, weight = decoder.config, decoder.get_parameter("model.layers.0.self_attn.k_proj.weight")
    shares = weight.device_mesh["tensor"].size() if by_heads(weight) else 1
    return replace(
        config,
        num_attention_heads=config.num_attention_heads // shares,
        num_key_value_heads=config.num_key_value_heads // shares,
    )


def by_heads(weight: Tensor) -> TypeGuard[DTensor]:
    """Whether processes of tensor parallel hold different shares of it."""
    return isinstance(weight, DTensor) and "tensor" in (weight.device_mesh.mesh_dim_names or ())


def at_rest(decoder: Decoder) -> None:
    """Let go of what was gathered for computing without a backward pass."""
    if isinstance(decoder, FSDPModule):
        decoder.reshard()


def exchange_between_replicas(decoder: Decoder, now: bool) -> None:
    """Whether the next backward pass sums gradients over the replicas, which is needed once in a step."""
    if isinstance(decoder, FSDPModule):
        decoder.set_requires_all_reduce(now)


def norm_of(weights: Iterable[nn.Parameter]) -> Tensor:
    """The length of the gradients of weights that are all spread in one way."""
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    return whole(torch.nn.utils.get_total_norm(gradients))


def by_rows(matrix: Tensor) -> Tensor:
    """The matrix, of which this process then holds whole rows: shares of tensor parallel are put together."""
    if not by_heads(matrix):
        return matrix
    copies = [Replicate()] * (matrix.device_mesh.ndim - 2)
    return matrix.redistribute(placements=[*copies, Shard(0), Replicate()])


def shared_out(work: Callable[[Tensor], Tensor], matrices: Sequence[Tensor]) -> Sequence[Tensor]:
    """`work` on whole matrices (B, M, N) of one shape, of which each process takes some; results as they were given.

    Every matrix travels to one process and back: as much as one gathering of the weights, whatever the world.
    """
    stack = torch.stack([by_rows(matrix) for matrix in matrices])
    if not isinstance(stack, DTensor):
        return work(stack).unbind()
    mesh = stack.device_mesh
    mine = stack.redistribute(placements=[Shard(0)] * mesh.ndim)
    done = DTensor.from_local(
        work(mine.to_local()),
        mesh,
        mine.placements,
        run_check=False,
        shape=stack.shape,
        stride=stack.stride(),
    )
    rows = done.redistribute(placements=stack.placements).unbind()
    return [as_given(row, matrix) for row, matrix in zip(rows, matrices, strict=True)]


def as_given(rows: Tensor, matrix: Tensor) -> Tensor:
    """Rows of a matrix, spread like `matrix`."""
    assert isinstance(rows, DTensor) and isinstance(matrix, DTensor)
    return rows.redistribute(placements=matrix.placements)
