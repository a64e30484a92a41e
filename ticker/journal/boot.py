"""Which start of the machine this is: what was written since it lives in the kernel, whatever became of a process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Return a text that changes whenever the machine starts, "" where none is known."""
    try:
        if sys.platform == "darwin":
            # Not kern.boottime, which moves when somebody sets the clock.
            command = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        return BOOT_ID.read_text().strip()
    except (OSError, subprocess.SubprocessError):
        return ""
