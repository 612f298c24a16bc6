"""The HTML page of runs: one file, opened from disk, that shows what networks learnt.

The way of the data, one module for each step::

    runs/NAME/            what a run left on disk
      -> run_data.py      the same as plain data, with a list of what is missing
      -> statistics.py    what its predictions say, alone and against another run's
      -> comparison.py    what several runs show of their weights, and of the architecture
      -> pictures.py      which sprites are shown, and their bytes
      -> charts.py, mistake_charts.py    curves and bars as Vega-Lite, by Altair
      -> build.py         all of it into template.html, with page.js and page.css: one HTML file

Nothing here knows torch, Lightning or the data set: a page can be built wherever the run's folder is.
"""
