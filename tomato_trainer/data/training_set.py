"""What one training run learns from, with a manifest whose hash is its lineage."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import msgspec

from sprout_link.messages import Memory
from tomato_trainer.data.general import GeneralRows, training_rows
from tomato_trainer.data.restate import Example, Restated, restate
from tomato_trainer.errors import JobError


@dataclass(frozen=True)
class TrainingSet:
    """Examples to learn, questions held out, and general rows to stay close to the base on."""

    system_prompt: str
    restated: Restated
    general: GeneralRows
    lineage: str
    """SHA-256 of the manifest, hex: the same memories, prompt, seed and rules give it again."""

    @property
    def questions(self) -> tuple[Example, ...]:
        """Questions to learn."""
        return self.restated.of_kind("question")

    @property
    def statements(self) -> tuple[Example, ...]:
        """Statements to learn, one a fact."""
        return self.restated.of_kind("statement")

    @property
    def held_out(self) -> tuple[Example, ...]:
        """Questions that are asked afterwards and never learned."""
        return self.restated.of_kind("held-out")

    @property
    def facts(self) -> int:
        """Number of sentences learned."""
        return len({example.fact for example in self.restated.examples})

    @property
    def memory_ids(self) -> list[str]:
        """Ids of the memories that gave examples, in order."""
        return list(dict.fromkeys(example.memory_id for example in self.restated.examples))


def build_training_set(memories: list[Memory], *, system_prompt: str, seed: int) -> TrainingSet:
    """Restate `memories` and bring the general rows along.

    Raises:
        JobError: no memory holds anything to learn.
    """
    restated = restate(memories, seed=seed)
    if not restated.examples:
        raise JobError(
            f"none of the {len(memories)} memories holds a sentence to learn; "
            "wait for the device to send more"
        )
    general = training_rows()
    return TrainingSet(
        system_prompt=system_prompt,
        restated=restated,
        general=general,
        lineage=_manifest_hash(memories, restated, general, system_prompt, seed),
    )


def _manifest_hash(
    memories: list[Memory],
    restated: Restated,
    general: GeneralRows,
    system_prompt: str,
    seed: int,
) -> str:
    manifest = {
        "version": 1,
        "system_prompt": system_prompt,
        "seed": seed,
        "memories": sorted(
            (m.memory_id, hashlib.sha256(m.text.encode()).hexdigest()) for m in memories
        ),
        "examples": [(e.fact, e.kind, e.form, e.user, e.assistant) for e in restated.examples],
        "skipped": restated.skipped,
        "texts": [row.text for row in general.texts],
        "chats": [(row.question, row.answer) for row in general.chats],
    }
    encoded = msgspec.json.encode(manifest, order="deterministic")
    return hashlib.sha256(encoded).hexdigest()
