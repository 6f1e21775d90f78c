"""The first inference of a process, which two threads may come to together."""

import subprocess
import sys

RUNTIME = """
import sys, tempfile, threading
from pathlib import Path
import numpy as np
from chassis.networks.openvino_runtime import OpenVinoRuntime, ov

sys.setswitchinterval(1e-6)
runtime = OpenVinoRuntime(2, "float32", Path(tempfile.gettempdir()))
rows = ov.opset13.parameter([-1, 64], np.float32)
network = runtime._core.compile_model(ov.Model([ov.opset13.relu(rows)], [rows]), "CPU")
both = threading.Barrier(2)

def infer(request):
    both.wait()
    request.infer([np.ones((4, 64), np.float32)])

threads = [threading.Thread(target=infer, args=(network.create_infer_request(),)) for _ in range(2)]
for each in threads:
    each.start()
for each in threads:
    each.join()
"""
# Without what makes it safe, about every second process hangs.
PROCESSES = 4


def test_two_threads_that_begin_together_do_not_wait_for_each_other_for_ever() -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", RUNTIME], env={"PYTHONPATH": ".:gen"}) for _ in range(PROCESSES)
    ]
    try:
        assert [each.wait(timeout=60) for each in processes] == [0] * PROCESSES
    finally:
        for each in processes:
            each.kill()
            each.wait()
