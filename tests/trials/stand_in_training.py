"""A stand-in for train.py that learns nothing: writes what a training would, quickly, as its arguments say.

The value of the metric at epoch e is ``lr`` times e / epochs. ``lr`` above 1 diverges in epoch 2, ``crash`` ends with an error.
At the end there is a final/accuracy of ``lr`` and a hundredth of ``seed``. With ``until`` it waits for that file at first.
"""

import json
import sys
import time
from pathlib import Path

settings = dict(word.split("=", 1) for word in sys.argv[1:])
folder = Path(settings["resume"] if "resume" in settings else f"{settings['runs']}/{settings['name']}")
(folder / "checkpoints").mkdir(parents=True, exist_ok="resume" in settings)
metrics, epochs, lr = folder / "metrics.csv", int(settings.get("epochs", 3)), float(settings["lr"])
done = metrics.read_text().splitlines()[1:] if metrics.exists() else []
if settings.get("crash") == "True" and not (folder.parent / "mended").exists():
    sys.exit("out of luck")
with (folder / "starts").open("a") as starts:
    starts.write(f"{len(done)}\n")
while "until" in settings and not Path(settings["until"]).exists():
    time.sleep(0.05)
for epoch in range(len(done) + 1, epochs + 1):
    if lr > 1 and epoch == 2:
        (folder / "summary.json").write_text(json.dumps({"diverged": True, "divergence": "loss inf in epoch 2"}))
        sys.exit(1)
    time.sleep(float(settings.get("pace", 0)))
    done.append(f"{epoch},{lr * epoch / epochs},{1 - lr},{float(settings.get('pace', 0)) + 0.01}")
    partial = folder / "partial"
    partial.write_text("\n".join(["epoch,val/accuracy,test/loss,seconds", *done]) + "\n")
    partial.replace(metrics)
    (folder / "checkpoints/last.ckpt").touch()
final = lr + 0.01 * int(settings.get("seed", 0))
(folder / "summary.json").write_text(json.dumps({"diverged": False, "divergence": None, "final/accuracy": final}))
