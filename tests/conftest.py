"""What all tests share: one thread, so that two test processes do not fight over two cores; signals that are heard.

Whoever starts the tests by nohup or in the background hands on that SIGHUP and SIGINT are ignored, and tests that send
them would wait in vain.
"""

import signal

import torch

torch.set_num_threads(1)
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)
