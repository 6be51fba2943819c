"""Images (texts) per second: ours beside timm's and open_clip's, on the same device, with the same weights, in one run.

    python -m benchmarks.throughput [--models NAME ...] [--dtype float32 bfloat16] [--what inference train] [--batch 1 8]
                                    [--beside eager not-fused torch.compile] [--rounds 5]
                                    [--minutes 20] [--quick] [--out benchmarks/results/NAME.json]
    python -m benchmarks.throughput --table benchmarks/results/NAME.json      its Markdown table again

Any device that JAX has: CPU, GPU, TPU. Beside ours, where torch is there: timm as it comes (eager, with its fused attention),
without that, and through torch.compile; open_clip for texts. On a GPU both libraries need it: jax[cuda13] and torch with CUDA.
On a TPU, and without torch, ours is measured alone.

What is done, for each network and dtype, in a process of its own, so that nobody's memory is in another's way:

- Outputs are compared first: float32 within 1e-4 of their scale, or the row says that it failed. Of bfloat16, the row says how
  near its features are to float32's (cosine, the smallest of a batch).
- The best batch is found by doubling, until neither ours nor timm's grows by 5 %, or memory ends. Ours, timm's, and a large
  matrix product of each library then take turns, at batch 1 and at the best, so that a machine that slows down slows all.
- Ratios are medians over the rounds, of times within a round. MFU: arithmetic of the network (vitjax/flops.py; a train step has
  three times that) by the measured rate of JAX's product in the same dtype, and by the data sheet's where vitjax knows it.
- Compiling: the first call, with an empty cache, and again from the cache on disk. Memory: what the compiler says the program
  takes with its arguments (ours; on a CPU of the network as one program, though a large one goes block by block and takes less),
  the most that was allocated (torch on a GPU).
- The train step is the one that vitjax.train makes: AdamW, float32 parameters, computing in the dtype. timm's: cross entropy,
  AdamW, autocast. Texts are not trained by themselves.

Outputs are compared for a reason: XLA's oneDNN (`--xla_cpu_use_onednn=true`, jaxlib 0.10.2 and 0.12) is up to 40 % faster on a
CPU with AMX, and wrong: ViT-B/16 at 384 pixels differs by more than its scale. Nothing here or in vitjax turns it on.

Whatever fails is a row that says why. After `--minutes` what is left is left out, and says so too.

Targets. GPU, bfloat16 inference at the best batch: 1.1 x timm compiled for plain ViT, 1.2 x for EVA-02; 55 % of the measured
product for L/14; a train step of L/16 at 45 % of it. No GPU has measured them yet. CPU, float32: 1.7 x timm eager at batch 8,
1.3 x at batch 1, 85 % of JAX's product for L/16 at batch 8; bfloat16 1.15 x timm. What was reached is in benchmarks/results.
"""
