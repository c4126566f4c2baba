# %% [markdown]
# # A study as a notebook
#
# A script with cells (`# %%`), which VS Code, PyCharm and Jupyter with Jupytext open as a notebook, and which runs as
# it is: `python docs/notebook.py`, in a clone of this repository. A test runs it.

# %%
from pathlib import Path

import ablation

# %% [markdown]
# The grid is a file, as for the commands, so that the study can be run again without this notebook.

# %%
GRID = """\
# Does the placement of the norm matter with and without positions?
name: notebook
base: conf/base.yaml
set: {model.d_model: 32, model.n_layers: 2, task.length: 32, task.batch_size: 8, training.max_steps: 60,
      training.evaluate_every: 20, tracking.mode: disabled}
factors:
  model.block: [pre_norm, post_norm]
  model.position: [rope, none]
seeds: 3
"""
Path("notebook.yaml").write_text(GRID)
study = ablation.Study("notebook.yaml")
plan = study.plan()  # trains nothing
len(plan.cells), len(plan.runs)

# %% [markdown]
# `run` trains what is missing: a cell that is run again trains nothing.

# %%
study.run(workers=2)
results = study.compare()
results  # shows itself as the table

# %% [markdown]
# One row for each cell, seed and metric. Everything below is pandas.

# %%
frame = results.frame()
losses = frame[frame.metric == "loss"].pivot_table(index="seed", columns="cell", values="value")
losses.round(3)

# %% [markdown]
# Differences are taken seed by seed, before anything is averaged: that is what a verdict tests.

# %%
differences = losses.drop(columns=results.baseline.label).sub(losses[results.baseline.label], axis=0)
differences.agg(["mean", "std"]).round(4)

# %% [markdown]
# The same with its test, its correction and its verdict, as the table has it:

# %%
for cell in results.cells[1:]:
    loss = cell.metrics["loss"]
    print(f"{cell.label:32} {loss.contrast.delta:+.3f}  {loss.verdict.label}")

# %% [markdown]
# Curves, one row for each evaluation of each run; `.plot()` shows them where matplotlib is installed.

# %%
curves = results.curves("loss").pivot_table(index="step", columns="cell", values="value")
curves.round(3)

# %% [markdown]
# What a run was made of, and the same comparison from its folder alone, tomorrow or elsewhere:

# %%
again = ablation.load("runs/notebook")
assert again.frame().equals(frame)
print(again.table("markdown").splitlines()[0])
