"""The loss is what its formula says, gradient included, and a document mask is positions that start again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from haina.model.decoder import Decoder
from haina.text.messages import IGNORED
from haina.train import objectives
from haina.train.objectives import next_token


@pytest.mark.parametrize("head", ["plain", "normed"])
@pytest.mark.parametrize("z", ["logsumexp", "max"])
def test_loss_and_gradient_are_those_of_the_plain_formula(
    z: Any, head: Any, toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objectives, "CHUNK", 20)  # 48 tokens: two chunks and a rest
    torch.manual_seed(0)
    decoder = Decoder(replace(toy.config, head=head))
    ids, targets = torch.randint(0, 64, (3, 16)), torch.randint(0, 64, (3, 16))
    targets[0, 3:] = IGNORED
    nats, loss = next_token(decoder, {"ids_BT": ids, "targets_BT": targets}, z=z, z_loss=0.1)
    loss.backward()
    ours = {name: p.grad.clone() for name, p in decoder.named_parameters()}
    decoder.zero_grad()
    logits = decoder(ids).flatten(0, 1)[targets.flatten() != IGNORED]
    plain = F.cross_entropy(logits, targets.flatten()[targets.flatten() != IGNORED])
    size = {"logsumexp": logits.logsumexp(-1), "max": logits.amax(-1)}[z]
    whole = plain + 0.1 * size.square().mean()
    whole.backward()
    assert nats.item() == pytest.approx(plain.item(), rel=1e-5)
    assert loss.item() == pytest.approx(whole.item(), rel=1e-5)
    for name, p in decoder.named_parameters():
        assert torch.allclose(ours[name], p.grad, atol=1e-6), name


def test_the_weights_of_the_z_losses(toy: Any) -> None:
    torch.manual_seed(0)
    decoder, ids = Decoder(toy.config), torch.randint(0, 64, (2, 16))
    batch = {"ids_BT": ids, "targets_BT": ids}
    found = {z: next_token(decoder, batch, z=z) for z in ("logsumexp", "max", "off")}
    logits = decoder(ids)
    assert found["off"][0].item() == found["off"][1].item()
    for z, size in (("logsumexp", 1e-4 * logits.logsumexp(-1) ** 2), ("max", 2e-4 * logits.amax(-1) ** 2)):
        assert (found[z][1] - found[z][0]).item() == pytest.approx(size.mean().item(), rel=1e-2)


@pytest.mark.parametrize("position", ["rope", "alibi"])
@torch.no_grad()
def test_documents_of_a_row_do_not_see_each_other(position: Any, toy: Any) -> None:
    config = replace(toy.config, position=position, rotary_dim=16 if position == "rope" else 0)
    torch.manual_seed(0)
    decoder = Decoder(config)
    first, second = torch.randint(0, 64, (1, 5)), torch.randint(0, 64, (1, 11))
    row = torch.cat([first, second], 1)
    at = torch.cat([torch.arange(5), torch.arange(11)])[None]
    packed = decoder(row, at)
    assert torch.allclose(packed[:, :5], decoder(first), atol=1e-5)
    assert torch.allclose(packed[:, 5:], decoder(second), atol=1e-5)
    assert not torch.allclose(packed[:, 5:], decoder(row)[:, 5:], atol=1e-3)
