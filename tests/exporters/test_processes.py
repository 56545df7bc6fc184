from __future__ import annotations

import os
import signal
import subprocess
import sys

from paceline_exporters.processes import kill_marked, marked


def test_a_process_is_found_and_killed_by_what_its_environment_holds() -> None:
    script = "import time; print(1, flush=True); time.sleep(60)"
    variables = {**os.environ, "PACELINE_SUPERVISOR": "token-of-this-test"}
    process = subprocess.Popen([sys.executable, "-c", script], env=variables, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    assert marked(b"PACELINE_SUPERVISOR=token-of-this-test\0") == [process.pid]
    kill_marked(b"PACELINE_SUPERVISOR=token-of-this\0")
    assert process.poll() is None
    kill_marked(b"PACELINE_SUPERVISOR=token-of-this-test\0")
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
