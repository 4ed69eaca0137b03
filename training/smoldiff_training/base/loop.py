"""Train the base model: one readable loop over packed rows, on a CPU, one GPU or several."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from smoldiff_training.base.checkpoint import export_model, load_checkpoint, save_checkpoint
from smoldiff_training.base.config import BaseTrainConfig
from smoldiff_training.base.evaluate import forced_scores, generated_scores, held_out
from smoldiff_training.base.loss import PackedLoss
from smoldiff_training.base.model import PACKED, new_model, register_packed_attention
from smoldiff_training.base.optim import base_optimizers, rate_at
from smoldiff_training.data.stream import packed_batches
from smoldiff_training.optim.schedule import progress
from smoldiff_training.record import Clock, Log, write_conditions

SYNC_EVERY = 10  # steps between two looks at the clock, which all processes must agree on


def train(cfg: BaseTrainConfig) -> None:
    from accelerate import Accelerator
    from transformers import AutoModelForCausalLM, AutoTokenizer

    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    is_first, out = accelerator.is_main_process, Path(cfg.out)
    out.mkdir(parents=True, exist_ok=True)
    log = Log(out / "log.jsonl", is_first)
    torch.set_float32_matmul_precision("high")
    register_packed_attention()
    tokenizer = AutoTokenizer.from_pretrained(cfg.data.tokenizer)
    model = new_model(cfg.model, tokenizer, cfg.seed)
    model.config._attn_implementation = PACKED
    if cfg.init:
        model.load_state_dict(AutoModelForCausalLM.from_pretrained(cfg.init).state_dict())
    saved = load_checkpoint(out) if cfg.resume else None
    if saved:
        model.load_state_dict(saved["model"])
    model.to(accelerator.device)
    optimizers = base_optimizers(model, cfg.optim)
    if saved:
        optimizers.load_state_dict(saved["optimizers"])
    step, used = (saved["step"], saved["used"]) if saved else (0, 0.0)
    if is_first:
        write_conditions(out, cfg)
    batches = packed_batches(
        cfg.data,
        cfg.optim.prompt_weight,
        cfg.seed + step,
        accelerator.process_index,
        accelerator.num_processes,
    )
    packed = accelerator.prepare(PackedLoss(model, cfg.data.max_document_tokens, cfg.compile))
    clock = Clock(accelerator, saved["elapsed_s"] if saved else 0.0)
    elapsed_s = saved["elapsed_s"] if saved else 0.0
    checkpoint_s, lap, lap_step = elapsed_s, time.monotonic(), step
    num_tokens = cfg.data.tokens_per_step * accelerator.num_processes
    while used < 1.0:
        batch = {k: v.to(accelerator.device, non_blocking=True) for k, v in next(batches).items()}
        loss, answer_loss = packed(batch)
        accelerator.backward(loss)
        norm = optimizers.step(rate_at(used, cfg.optim))
        step += 1
        if step % SYNC_EVERY == 0 or used == 0.0:
            elapsed_s = clock.agreed_s()
        used = progress(step, elapsed_s, cfg.optim)
        if step % cfg.log_every == 0:
            now = time.monotonic()
            speed = (step - lap_step) * num_tokens / (now - lap)
            lap, lap_step = now, step
            log(
                step=step,
                loss=round(loss.item(), 4),
                answer_loss=round(answer_loss.item(), 4),
                norm=round(norm.item(), 3),
                rate=round(rate_at(used, cfg.optim), 4),
                elapsed_s=round(elapsed_s, 1),
                tokens_per_s=int(speed),
            )
        if elapsed_s - checkpoint_s > cfg.checkpoint_every_s:
            checkpoint_s = elapsed_s
            if is_first:
                state = {"step": step, "used": used, "elapsed_s": elapsed_s}
                save_checkpoint(out, model, optimizers, state)
                export_model(out / "model", model, tokenizer)
                rows = held_out(cfg.data, cfg.eval_rows)
                log(
                    step=step, forced=forced_scores(model, tokenizer.backend_tokenizer, rows)["all"]
                )
    if is_first:
        state = {"step": step, "used": used, "elapsed_s": elapsed_s}
        save_checkpoint(out, model, optimizers, state)
        export_model(out / "model", model, tokenizer)
        report(cfg, model, tokenizer, log)
    accelerator.wait_for_everyone()
    accelerator.end_training()


def report(cfg: BaseTrainConfig, model: Any, tokenizer: Any, log: Log) -> None:
    """The final scores, of the weights as they were exported."""
    from transformers import AutoModelForCausalLM

    forced = forced_scores(model, tokenizer.backend_tokenizer, held_out(cfg.data, 0))
    log(forced=forced)
    if not cfg.eval_rows:
        return
    plain = AutoModelForCausalLM.from_pretrained(Path(cfg.out) / "model", dtype=torch.bfloat16)
    plain.to(next(model.parameters()).device).eval()
    rows = held_out(cfg.data, cfg.eval_rows)
    scores, shown = generated_scores(plain, tokenizer, rows, cfg.eval_batch)
    log(generated=scores)
    for text in shown if log.is_on else ():
        print(text, flush=True)
    log(config=asdict(cfg))
