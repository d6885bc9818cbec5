"""Every number of the README and the documentation, and the result that it comes from.

    python -m benchmarks.claims             says where a page and a result differ; the exit code is 1 if one does
    python -m benchmarks.claims --write     writes the numbers of the results into the pages

`readme.py`, `benchmarks_page.py` and `pages.py` say which numbers stand for what, `statements.py` finds them in a page,
and `results.py` reads `benchmarks/results/`. A number with decimals that none of them names is a mistake, too, so a
new one has to say where it comes from. A value that no result holds is `…` in the page until its benchmark has run.
"""
