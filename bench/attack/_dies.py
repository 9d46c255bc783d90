"""headstart that is killed before its Nth change of a file: python _dies.py N ARGS of headstart.

Counted is what Python does itself (opened for writing, renamed, made, removed); with N = 0 nothing
dies, and how many changes there were is the last line on standard error.
"""

import atexit
import os
import runpy
import signal
import sys
from typing import Any

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link")
WRITING = os.O_WRONLY | os.O_RDWR

last, count = int(sys.argv.pop(1)), 0


def count_change(event: str, args: tuple[Any, ...]) -> None:
    global count
    if event not in CHANGES and not (event == "open" and args[2] and args[2] & WRITING):
        return
    count += 1
    if count == last:
        os.kill(os.getpid(), signal.SIGKILL)


if not last:
    atexit.register(lambda: print(count, file=sys.stderr))
sys.addaudithook(count_change)
runpy.run_module("headstart", run_name="__main__", alter_sys=True)
