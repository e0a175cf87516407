"""What a user of script mode writes: fits a line to the channel `training`, with all that the toolkit tells by SM_*."""

import argparse
import csv
import importlib
import json
import os
import sys
from pathlib import Path

from line import fit

parser = argparse.ArgumentParser()
parser.add_argument("--rate", type=float)
parser.add_argument("--steps", type=int)
parser.add_argument("--name")
parser.add_argument("--required")
parser.add_argument("--fail")
parser.add_argument("--model-dir", default=os.environ["SM_MODEL_DIR"])
given = parser.parse_args()
if given.fail:
    raise ValueError(given.fail)
if given.required:
    print("required", importlib.import_module(given.required).__file__)
rows = []
for path in sorted(Path(os.environ["SM_CHANNEL_TRAINING"]).iterdir()):
    with path.open() as file:
        rows += [(float(x), float(y)) for x, y in csv.reader(file)]
slope, intercept, loss = fit(rows, given.rate, given.steps)
print(f"rows={len(rows)} loss={loss:.6f};")
seen = {name: value for name, value in os.environ.items() if name.startswith("SM_")}
Path(given.model_dir, "line.json").write_text(json.dumps({"slope": slope, "intercept": intercept}))
Path(given.model_dir, "seen.json").write_text(json.dumps({"environment": seen, "arguments": sys.argv[1:]}))
Path(os.environ["SM_OUTPUT_DATA_DIR"], "notes.txt").write_text(f"{given.name}\n")
