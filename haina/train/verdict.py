"""What the log of a run says of its end, in a sentence: held-out text that grew harder, a loss that did not fall.

It knows the lines of log.jsonl and answers as texts; it does not know how they came about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from haina.wording import say

Lines = Sequence[Mapping[str, Any]]
CLEARLY = 1.02  # a loss so many times the best one lies above it by more than chance
ENDS = 5  # lines at either end whose mean is taken


def since_best(lines: Lines) -> int:
    """Validations after the best one."""
    nats = [line["valid_nats"] for line in lines if "valid_nats" in line]
    return len(nats) - 1 - nats.index(min(nats)) if nats else 0


def risen(lines: Lines, *, kept_best: bool) -> list[str]:
    """A line if the last validation lies clearly above the best: then the text is learnt by heart."""
    found = [(line["valid_nats"], line["step"] + 1) for line in lines if "valid_nats" in line]
    if not found or found[-1][0] <= CLEARLY * min(found)[0]:
        return []
    (best, step), (last, _) = min(found), found[-1]
    if kept_best:
        en, zh = f"the weights of step {step:,} are kept", f"已保留第 {step:,} 步的权重"
    else:
        en = "the text is learnt by heart; --patience 3 stops and keeps the best, fewer --tokens or --epochs help"
        zh = "已是死记硬背；可用 --patience 3 及时停止并保留最好的权重，或减小 --tokens、--epochs"
    return [
        say(
            f"note: validation rose from {best:.2f} nats/token after step {step:,} to {last:.2f}: {en}",
            f"注意：验证损失从第 {step:,} 步的 {best:.2f} 奈特/词元升到了 {last:.2f}：{zh}",
        )
    ]


def unmoved(lines: Lines) -> list[str]:
    """A line if the loss of the last steps is not below that of the first."""
    if any("reward" in line for line in lines):  # then the loss is no measure
        return []
    nats = [line["nats"] for line in lines if line.get("nats") is not None and not line.get("skipped")]
    ends = min(ENDS, len(nats) // 2)
    if not ends:
        return []
    first, last = sum(nats[:ends]) / ends, sum(nats[-ends:]) / ends
    if last < 0.98 * first:
        return []
    return [
        say(
            f"note: the loss did not fall ({first:.2f} → {last:.2f}): little was learnt; raise --lr or --epochs",
            f"注意：损失没有下降（{first:.2f} → {last:.2f}），几乎没有学到东西；请调高 --lr 或 --epochs",
        )
    ]


def alike(lines: Lines) -> list[str]:
    """A line if all answers to each question were worth the same, whenever it was told."""
    spreads = [line["spread"] for line in lines if line.get("spread") is not None]
    if not spreads or max(spreads) > 0:
        return []
    return [
        say(
            "note: all answers to a question were worth the same (spread 0), so that nothing could be learnt; take an "
            "easier or finer --reward, a higher --temperature, or a model that was taught to answer",
            "注意：同一提问的所有回答得分都相同（组内标准差为 0），无从学习；请换更容易或更细致的 --reward、"
            "调高 --temperature，或换一个已会回答的模型",
        )
    ]


def speechless(answers: Sequence[str]) -> list[str]:
    """A line if the model answers every question that it was shown with nothing."""
    if not answers or any(answer.strip() for answer in answers):
        return []
    return [
        say(
            f"note: it answers {len(answers)} of {len(answers)} questions with nothing; "
            "train longer (--epochs), with more data, or all weights (without --lora)",
            f"注意：试问的 {len(answers)} 个问题，它都答以空白；请增加 --epochs 或数据，或训练全部权重（不带 --lora）",
        )
    ]
