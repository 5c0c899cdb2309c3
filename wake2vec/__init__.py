"""wake2vec: add words to a frozen language model and train only its embedding matrix.

`run(RunConfig(), folder)` trains and measures one configuration and gives a `RunResult`.

Names are imported when they are first used, as `__init__.pyi` lists them: what only reads results never loads torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
