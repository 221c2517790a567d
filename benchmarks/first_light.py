"""How long does the whole loop take, and what does it teach? Runs the demo and tells.

A night's time is training, and training's is matrix products: on 2 cores expect most of the
total in `train`. The rest is the base model answering questions before, in the trial, and
after, at the rate at which it decodes. The last line is JSON.

    python benchmarks/first_light.py [--facts FILE] [--runs N] [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

QUICK_FACT = {
    "say": "My robot vacuum is called Quibble.",
    "ask": ["What's the name of my robot vacuum?", "What did I call my vacuum robot?"],
    "expect": ["Quibble"],
}


def run_demo(facts: Path | None) -> dict[str, Any]:
    """Figures of one run; what the demo prints for people goes to standard error."""
    command = [sys.executable, "-m", "sprout_agent.cli", "demo", "--json"]
    done = subprocess.run(
        [*command, *(["--facts", str(facts)] if facts else [])],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    if not lines:
        raise SystemExit(f"the demo ended with status {done.returncode} and without figures")
    outcome: dict[str, Any] = json.loads(lines[-1])
    return {**outcome, "exit": done.returncode}


def main() -> None:
    """Run, print a table, and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--facts", type=Path, help="a fact file of your own")
    parser.add_argument("--runs", type=int, default=1, help="runs; medians are told (default 1)")
    parser.add_argument("--quick", action="store_true", help="one fact, one run")
    parser.add_argument("--json", type=Path, help="also write the JSON line to this file")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        facts = wanted.facts
        if wanted.quick:
            facts = Path(folder) / "quick.jsonl"
            facts.write_text(json.dumps(QUICK_FACT))
        runs = [run_demo(facts) for _ in range(1 if wanted.quick else wanted.runs)]
    stages = {
        name: round(statistics.median(run["seconds"].get(name, 0.0) for run in runs), 1)
        for name in runs[0]["seconds"]
    }
    figures = {
        name: statistics.median(run[name] for run in runs)
        for name in ("recall_before", "recall_after", "general_before", "general_after",
                     "promoted", "passed_over", "artifact_bytes")
    }  # fmt: skip
    for name, value in {**figures, **{f"seconds: {k}": v for k, v in stages.items()}}.items():
        print(f"{name:26} {value:>14,.2f}")
    result = {
        **figures,
        "seconds": stages,
        "runs": len(runs),
        "exits": [run["exit"] for run in runs],
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
    }
    line = json.dumps(result)
    if wanted.json:
        wanted.json.write_text(line + "\n")
    print(line)


if __name__ == "__main__":
    main()
