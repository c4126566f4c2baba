"""The Python interface: ``Study`` and ``load``, and the ``Results`` that both give.

It stands above ``report`` and ``study``, which do not know of each other: ``Study`` is the driver of ``ablation.study``
that also writes tables, ``Results`` a ``Comparison`` that shows itself. The commands use them as a notebook does::

    study = ablation.Study("grid.yaml", set={"training.max_steps": 200})
    study.run(workers=2)
    results = study.compare()            # or ablation.load("runs/quickstart")
    results.frame().groupby("cell").value.mean()

``load`` and ``Study.compare`` read files alone and import neither torch nor Lightning.
"""
