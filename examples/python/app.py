"""A Python job: reads a CSV of meter readings and leaves a summary per supplier as JSON.

Plain Python with its standard library, made a WASI component by componentize-py: `csv`, `json` and
`statistics` run inside the sandbox, on any node. Reads /data/readings.csv, writes /out/summary.json.
"""

import csv
import json
import statistics

from wit_world import exports

READINGS = "/data/readings.csv"
SUMMARY = "/out/summary.json"


def summarise(rows):
    """Sums, mean and 95th percentile of `watt_hours` for each supplier, by name."""
    by_supplier = {}
    for line, row in enumerate(rows, start=2):
        try:
            by_supplier.setdefault(row["supplier"], []).append(int(row["watt_hours"]))
        except (KeyError, TypeError, ValueError) as error:
            raise SystemExit(f"{READINGS}, line {line}: {error!r}") from error
    return {
        name: {
            "readings": len(values),
            "total": sum(values),
            "mean": round(statistics.fmean(values), 3),
            "p95": statistics.quantiles(values, n=20)[-1] if len(values) > 1 else values[0],
        }
        for name, values in sorted(by_supplier.items())
    }


class Run(exports.Run):
    """What `wasi:cli/run` calls."""

    def run(self) -> None:
        with open(READINGS, newline="", encoding="utf-8") as file:
            summary = summarise(csv.DictReader(file))
        with open(SUMMARY, "w", encoding="utf-8") as file:
            json.dump(summary, file, indent=2, sort_keys=True)
            file.write("\n")
        for name, row in summary.items():
            print(f"{name}: {row['readings']} readings, {row['total']} Wh")
