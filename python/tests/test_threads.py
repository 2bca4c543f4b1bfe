import threading
import time

import numpy as np
import pytest

import nvfp4


def test_results_do_not_depend_on_threads():
    x = np.random.default_rng(0).standard_normal((512, 1024)).astype(np.float32)
    q = nvfp4.quantize(x, num_threads=1)
    for threads in (2, 5):
        assert nvfp4.quantize(x, num_threads=threads) == q
        assert nvfp4.gemm(q, q, num_threads=threads).tobytes() == nvfp4.gemm(q, q, num_threads=1).tobytes()


def test_the_default_number_is_set_and_put_back():
    before = nvfp4.get_num_threads()
    nvfp4.set_num_threads(1)
    assert nvfp4.get_num_threads() == 1
    nvfp4.set_num_threads(0)
    assert nvfp4.get_num_threads() == before
    with pytest.raises(ValueError, match="num_threads: expected 0 .all. or more, found -1"):
        nvfp4.set_num_threads(-1)


def slow_product():
    """Operands whose product takes a fifth of a second on one thread or longer."""
    rows = 128
    while True:
        q = nvfp4.quantize(np.random.default_rng(0).standard_normal((rows, 4096)).astype(np.float32))
        started = time.perf_counter()
        nvfp4.gemm(q, q, num_threads=1)
        if time.perf_counter() - started > 0.2:
            return q
        rows *= 2


def test_other_threads_of_python_run_meanwhile():
    q = slow_product()
    started, done = threading.Event(), threading.Event()

    def compute():
        started.set()
        nvfp4.gemm(q, q, num_threads=1)
        done.set()

    worker = threading.Thread(target=compute)
    worker.start()
    started.wait()
    ticks = 0
    while not done.is_set():
        ticks += 1
        time.sleep(0.001)
    worker.join()
    assert ticks > 5  # held, the lock would leave one or none; a busy machine leaves few
