# ruff: noqa: T201
"""Training steps and decoding beside transformers' models of the same shape, and mixers beside attention, with goals.

    python tests/benchmarks/against_others.py --rounds 9

Everything is timed in one process on one thread. What is compared takes turns, and a figure is the median over rounds
of the ratio within a round, so that what else the machine does meets both. ``once more`` is a thing beside itself: what
its ratio is off 1 is the error of the measurement.

- Training: forward, loss, backward and one step of torch's fused AdamW, which runs use and transformers' trainer too.
  Ours over theirs; below 1 is faster. Beside transformers also x-transformers, where it is installed (2.31), and
  nanoGPT, with ``--nanogpt`` and the path of its ``model.py``.
- Decoding: 128 tokens after a prompt of 16, the most probable each time, with the cache. Theirs over ours. ``plain
  loop`` is the same arithmetic on bare tensors without a module: what no implementation of these operations can beat.
- Mixers: forward and backward of the sublayer at 512 tokens, over attention. Streams: a training step, over plain.
"""

import argparse
import os
import sys
import time
import warnings
from argparse import Namespace
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from functools import partial
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from io import StringIO
from pathlib import Path
from statistics import median
from typing import Any

import torch
from mixer_speed import ATTENTION, measure
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, layer_norm, linear, scaled_dot_product_attention

from ablation.config.bundled import conf
from ablation.config.layered import read_assignment, read_base
from ablation.model.build import build_model
from ablation.model.generate import SamplingParams, generate
from ablation.processes import HUGE_PAGES

VOCABULARY, LENGTH, BATCH = 256, 128, 16
PROMPT, NEW = 16, 128
SHAPES = [(64, 2, 4), (128, 4, 4), (384, 6, 6)]
"""Features, layers, heads."""
GOALS = {
    "GPT-2": 0.93, "Llama": 0.95, "nanoGPT": 0.95, "x-transformers": 0.91,
    "decoding": 2.0, "relative mixers": 2.0, "state_space": 1.5, "streams": 1.5,
}  # fmt: skip
Turn = Callable[[], object]
Pair = Callable[..., tuple[nn.Module, nn.Module]]
Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


def ratios(turns: Mapping[str, Turn], n_rounds: int) -> dict[str, float]:
    """Medians of the time of each turn over that of the first, which takes part once more at the end."""
    (first, *_), turns = turns, {**turns, "once more": next(iter(turns.values()))}
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for turn in turns.values():
        turn()  # the first of anything is slow
    for _ in range(n_rounds):
        for name, turn in turns.items():
            start = time.process_time()
            turn()
            seconds[name].append(time.process_time() - start)
    of_first = seconds[first]
    return {
        name: median(one / base for one, base in zip(times, of_first, strict=True)) for name, times in seconds.items()
    } | {"ms": 1000 * median(of_first)}


def model_of(name: str, **settings: Any) -> nn.Module:
    """A model of conf/models with settings of ``model``, without dropout."""
    layered = read_base(conf() / "models" / f"{name}.yaml")
    for path, value in {"dropout": 0, "max_length": 512, **settings}.items():
        path, value, document = read_assignment(f"model.{path}={value}")
        layered.set(path, value, document, (path,))
    return build_model(layered.build().model, VOCABULARY, 512, 0)


def gpt2(d_model: int, n_layers: int, n_heads: int) -> tuple[nn.Module, nn.Module]:
    """Ours and that of transformers."""
    from transformers import GPT2Config, GPT2LMHeadModel

    theirs = GPT2Config(
        vocab_size=VOCABULARY, n_positions=512, n_embd=d_model, n_layer=n_layers, n_head=n_heads,
        resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, bos_token_id=0, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    return ours_of_gpt2("gelu_tanh", d_model, n_layers, n_heads), GPT2LMHeadModel(theirs)


def ours_of_gpt2(activation: str, d_model: int, n_layers: int, n_heads: int) -> nn.Module:
    sizes = {"d_model": d_model, "n_layers": n_layers, "n_heads": n_heads}
    feedforward = f"{{name: mlp, activation: {activation}, expansion: 4, bias: true}}"
    return model_of("gpt2", **sizes, mixer="{name: attention, bias: true}", feedforward=feedforward)


def llama(d_model: int, n_layers: int, n_heads: int) -> tuple[nn.Module, nn.Module]:
    """The same with rotary positions, RMSNorm, a gated feedforward and half as many heads of keys."""
    from transformers import LlamaConfig, LlamaForCausalLM

    theirs = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=d_model, intermediate_size=8 * round(2.6875 * d_model / 8),
        num_hidden_layers=n_layers, num_attention_heads=n_heads, num_key_value_heads=n_heads // 2,
        max_position_embeddings=512, tie_word_embeddings=False, bos_token_id=0, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    ours = model_of("llama", d_model=d_model, n_layers=n_layers, n_heads=n_heads, n_kv_heads=n_heads // 2)
    return ours, LlamaForCausalLM(theirs)


def nanogpt(file: Path, d_model: int, n_layers: int, n_heads: int) -> tuple[nn.Module, nn.Module]:
    """Ours of GPT-2, with the exact GELU as there, and the model in nanoGPT's file."""
    spec = spec_from_file_location("nanogpt", file)
    assert spec is not None and spec.loader is not None
    module = sys.modules["nanogpt"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    sizes = {"n_layer": n_layers, "n_head": n_heads, "n_embd": d_model, "block_size": 512, "vocab_size": VOCABULARY}
    with redirect_stdout(StringIO()):
        theirs = module.GPT(module.GPTConfig(**sizes, dropout=0.0, bias=True))
    return ours_of_gpt2("gelu", d_model, n_layers, n_heads), theirs


def x_transformers(d_model: int, n_layers: int, n_heads: int) -> tuple[nn.Module, nn.Module]:
    """Ours of GPT-2, with the exact GELU as there, and a decoder of the same parts, but for biases of attention."""
    from x_transformers import Decoder, TransformerWrapper

    layers = Decoder(dim=d_model, depth=n_layers, heads=n_heads, attn_dim_head=d_model // n_heads, attn_flash=True)
    sizes = {"num_tokens": VOCABULARY, "max_seq_len": 512, "tie_embedding": True}
    theirs = TransformerWrapper(**sizes, attn_layers=layers)
    return ours_of_gpt2("gelu", d_model, n_layers, n_heads), theirs


def n_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def of_logits(logits: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(logits.flatten(0, 1), targets.flatten())


def own_loss(model: nn.Module, tokens: Tensor, targets: Tensor) -> Tensor:
    return of_logits(model(tokens), targets)


def training_step(model: nn.Module, loss: Loss = own_loss) -> Turn:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    tokens = torch.randint(VOCABULARY, (BATCH, LENGTH + 1), generator=torch.Generator().manual_seed(0))

    def step() -> None:
        optimizer.zero_grad()
        loss(model, tokens[:, :-1], tokens[:, 1:]).backward()
        optimizer.step()

    return step


def plain_decoding(d_model: int, n_layers: int, n_heads: int, batch: int) -> Turn:
    """GPT-2's operations for each token, on tensors, with caches that are allocated once."""
    random = torch.Generator().manual_seed(0)

    def weight(*shape: int) -> Tensor:
        return 0.02 * torch.randn(shape, generator=random)

    table, shape = weight(VOCABULARY, d_model), (batch, n_heads, PROMPT + NEW, d_model // n_heads)
    layers = [
        ([weight(d_model, d_model) for _ in range(4)], weight(4 * d_model, d_model), weight(d_model, 4 * d_model),
         torch.zeros(shape), torch.zeros(shape))
        for _ in range(n_layers)
    ]  # fmt: skip

    def step(tokens: Tensor, position: int) -> Tensor:
        x = table[tokens][:, None]
        for (query, key, value, out), up, down, keys, values in layers:
            h = layer_norm(x, (d_model,))
            q, k, v = (linear(h, w).view(batch, 1, n_heads, -1).transpose(1, 2) for w in (query, key, value))
            keys[:, :, position : position + 1], values[:, :, position : position + 1] = k, v
            y = scaled_dot_product_attention(q, keys[:, :, : position + 1], values[:, :, : position + 1])
            x = x + linear(y.transpose(1, 2).reshape(batch, 1, d_model), out)
            x = x + linear(gelu(linear(layer_norm(x, (d_model,)), up)), down)
        return linear(layer_norm(x, (d_model,)), table)[:, -1].argmax(-1)

    @torch.inference_mode()
    def decode() -> None:
        tokens = torch.zeros(batch, dtype=torch.long)
        for position in range(PROMPT, PROMPT + NEW):
            tokens = step(tokens, position)

    return decode


def show(what: str, ratio: float, goal: float, at_most: bool, more: str = "") -> None:
    met = ratio <= goal if at_most else ratio >= goal
    sign = "at most" if at_most else "at least"
    print(f"  {what:44} {ratio:6.2f}   {sign} {goal:4.2f}   {'met' if met else 'missed':8} {more}", flush=True)


def train(options: Namespace) -> None:
    print(f"training step, ours / theirs ({BATCH} texts of {LENGTH} tokens)", flush=True)
    peers: dict[str, tuple[Pair, Loss]] = {
        "GPT-2": (gpt2, lambda model, x, y: of_logits(model(x, use_cache=False).logits, y)),
        "Llama": (llama, lambda model, x, y: of_logits(model(x, use_cache=False).logits, y)),
    }
    if options.nanogpt is not None:
        peers["nanoGPT"] = partial(nanogpt, options.nanogpt), lambda model, x, y: model(x, y.contiguous())[1]
    if find_spec("x_transformers") is not None:
        peers["x-transformers"] = x_transformers, own_loss
    for name, (build, loss) in peers.items():
        for shape in SHAPES[:2]:
            ours, theirs = build(*shape)
            sizes = [n_parameters(model) for model in (ours, theirs)]
            assert abs(sizes[0] - sizes[1]) < 0.02 * sizes[1], f"not of the same shape: {sizes}"
            turns = {"theirs": training_step(theirs.train(), loss), "ours": training_step(ours.train())}
            found = ratios(turns, options.rounds)
            more = f"theirs {found['ms']:.1f} ms, once more {found['once more']:.2f}"
            show(f"{name}, d {shape[0]}, {shape[1]} layers", found["ours"], GOALS[name], True, more)


def decode(options: Namespace) -> None:
    print(f"decoding with the cache, transformers / ours ({NEW} tokens)", flush=True)
    greedy = SamplingParams(temperature=0)
    for shape in SHAPES:
        for batch in (1, 16):
            ours, theirs = (model.eval() for model in gpt2(*shape))
            prompt = torch.randint(1, VOCABULARY, (batch, PROMPT), generator=torch.Generator().manual_seed(0))
            lengths = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False, "use_cache": True}
            mask = torch.ones_like(prompt)
            turns: dict[str, Turn] = {
                "ours": lambda ours=ours, prompt=prompt: generate(ours, prompt, NEW, greedy),
                "theirs": lambda theirs=theirs, prompt=prompt, mask=mask, lengths=lengths: theirs.generate(
                    prompt, attention_mask=mask, **lengths
                ),
                "plain loop": plain_decoding(*shape, batch),
            }
            found = ratios(turns, options.rounds)
            bound = found["theirs"] / found["plain loop"]
            more = f"ours {found['ms'] / NEW:.2f} ms a token; plain loop {bound:.2f}"
            show(f"d {shape[0]}, {shape[1]} layers, batch {batch}", found["theirs"], GOALS["decoding"], False, more)


def mixers(options: Namespace) -> None:
    print("mixers, forward and backward at 512 tokens, over attention", flush=True)
    kinds = {**dict.fromkeys(["disentangled", "shaw", "transformer_xl"], "relative mixers"), "mamba": "state_space"}
    measured = measure(64, 512, options.rounds, "cpu", [ATTENTION, *kinds])
    for name, kind in kinds.items():
        ratio = median(one / base for one, base in zip(measured[name], measured[ATTENTION], strict=True))
        show(name, ratio, GOALS[kind], True)
    print("residual streams, a training step, over plain", flush=True)
    streams = ["hyper_connections", "manifold_hyper_connections"]
    turns = {residual: training_step(model_of("gpt2", residual=residual)) for residual in ("plain", *streams)}
    found = ratios(turns, options.rounds)
    for name in streams:
        show(name, found[name], GOALS["streams"], True)


def main() -> None:
    os.environ.setdefault(HUGE_PAGES, "1")  # as runs have
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", nargs="+", choices=(parts := {"train": train, "decode": decode, "mixers": mixers}))
    parser.add_argument("--nanogpt", type=Path, metavar="model.py", help="of a clone of nanoGPT")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print(f"{Path(__file__).name}: torch {torch.__version__}, {options.rounds} rounds, one thread")
    for name in options.only or parts:
        parts[name](options)


if __name__ == "__main__":
    main()
