import os
import signal
import time

import pytest

from electra_cli.stopping import interruptible


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_is_a_request_and_the_usual_handlers_come_back(number):
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    with interruptible() as outer, interruptible() as inner:
        assert not inner.requested
        os.kill(os.getpid(), number)
        if number != signal.SIGINT:
            os.kill(os.getpid(), number)  # schedulers may send it again: still only a request
        assert outer.requested
        assert inner.reason == number.name
        with pytest.raises(KeyboardInterrupt):
            inner.check()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL  # the next one ends at once
    after = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    assert after == before


def test_the_time_that_is_up_counts_on_a_clock_that_nobody_sets(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 0.0)
    with interruptible(max_minutes=0.2 / 60) as interruption:
        assert not interruption.requested
        time.sleep(0.25)
        assert interruption.requested
        assert interruption.reason.startswith("--max-minutes")
