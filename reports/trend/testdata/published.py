# Fills the member "otava" of published.json with the change points that Apache Otava finds:
#   pip install apache-otava==0.8.0 && python published.py
import json
import pathlib

from otava.analysis import compute_change_points

path = pathlib.Path(__file__).with_name("published.json")
all_series = json.loads(path.read_text())
for one in all_series:
    series = [float(value) for value in one["series"]]
    points, _ = compute_change_points(series, window_len=50, max_pvalue=0.001, min_magnitude=0.0)
    one["otava"] = [int(point.index) for point in points]
lines = (json.dumps(one, separators=(",", ":")) for one in all_series)
path.write_text("[\n" + ",\n".join(lines) + "\n]\n")
