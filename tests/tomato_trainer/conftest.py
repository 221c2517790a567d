"""A small real program in the worker's place."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

WORKER = '''
"""Does what a worker does, with a file of zeros in place of an adapter."""
import hashlib, os, sys, time
from pathlib import Path
import msgspec
from sprout_link.artifact import Proof
from tomato_trainer.job_files import JobResult, WorkerEvent, read_spec

mode, folder = sys.argv[1], Path(sys.argv[-1])
spec = read_spec(folder)

def say(**values):
    print(msgspec.json.encode(WorkerEvent(**values)).decode(), flush=True)

say(stage="prepare", message="reading")
print("a library talks", flush=True)
if mode.startswith("hang"):
    if mode == "hang-stubborn":
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = os.fork()  # ends only with the group
    if child == 0:
        time.sleep(600)
    (folder.parent / "child").write_text(str(child))
    say(stage="train", step=1, steps=100, loss=3.0)
    time.sleep(600)
once = folder.parent / "crashed-once"
if mode == "crash" or (mode == "crash-once" and not once.exists()):
    once.touch()
    print("the log of a crash: " + spec.memories[0].text, file=sys.stderr)
    sys.exit(139)
if mode == "refuse":
    say(stage="train", error="there is nothing in these memories that can be learned")
    sys.exit(2)
for step in range(1, 4):
    say(stage="train", step=step, steps=3, loss=3.0 / step, remaining_s=3.0 - step)
data = b"adapter of " + ",".join(memory.memory_id for memory in spec.memories).encode()
(folder / "adapter.gguf").write_bytes(data)
result = JobResult(
    adapter_file="adapter.gguf" if mode != "escape" else "../../adapter.gguf",
    adapter_sha256=hashlib.sha256(data).hexdigest(),
    size_bytes=len(data), architecture="llama", method=spec.method,
    recipe={"rank": "16"}, lineage="b" * 64,
    memory_ids=[memory.memory_id for memory in spec.memories],
    figures={"recall_held_out": 1.0}, proofs=[Proof(prompt="p", answer="a", shift=1.5)],
    stage_seconds={"train": 0.1},
)
if mode != "silent":
    (folder / "result.json").write_bytes(msgspec.json.encode(result))
'''


@pytest.fixture
def worker(tmp_path: Path) -> Callable[[str], list[str]]:
    """Command of a worker that behaves in one of several ways."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    return lambda mode: [sys.executable, str(script), mode]
