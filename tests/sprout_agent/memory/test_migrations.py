from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_processes_that_open_a_new_database_at_once_all_find_it_whole(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from sprout_agent.memory.database import open_database\n"
        "with open_database(Path(sys.argv[1])) as database:\n"
        "    print(database.number('SELECT COUNT(*) FROM sessions'))"
    )
    path = str(tmp_path / "agent.db")
    opened = [
        subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    assert [process.communicate(timeout=60)[0].strip() for process in opened] == ["0"] * 6
