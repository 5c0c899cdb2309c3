"""The report: every figure that is measured from rows, by the files that declare it.

`measure` is what every evaluation of a trial reads; `measure_end` adds what is read once, at its end, since it costs
products of rows by rows.
"""

from collections.abc import Collection
from importlib import import_module

import numpy as np
import torch

from wake2vec.metrics.readings import Measured, Readings, Subject
from wake2vec.metrics.registry import GEOMETRY, OF_HEAD, SOURCES
from wake2vec.workfolder import Numbers

AT_EVALUATION, AT_END = "at_evaluation", "at_end"
HEAD_ARRAYS = "head."
"""Begins the names of the arrays of a head of its own."""


def measure(subject: Subject) -> Measured:
    """The report of one moment; each figure is None where it is undefined."""
    return _measured(AT_EVALUATION, Readings(subject, {}), FILES)


def measure_end(subject: Subject, measured: Numbers) -> Measured:
    """The figures that `measure` leaves out; `measured` are those that it gave for this subject."""
    return _measured(AT_END, Readings(subject, measured), FILES)


def measure_fully(subject: Subject) -> Measured:
    """The whole report."""
    return measure_of(subject, FILES, {})


def measure_of(subject: Subject, files: Collection[str], known: Numbers) -> Measured:
    """All that these files measure from rows, as `SOURCES` names them; `known` are the figures of the others."""
    readings = Readings(subject, known)
    now = _measured(AT_EVALUATION, readings, files)
    readings.known = known | now.numbers
    end = _measured(AT_END, readings, files)
    return Measured(now.numbers | end.numbers, now.arrays | end.arrays)


def of_head(measured: Measured) -> Measured:
    """What was measured of a head's rows, under the head's addresses and names."""
    return Measured(
        {address.replace(GEOMETRY, OF_HEAD, 1): value for address, value in measured.numbers.items()},
        {f"{HEAD_ARRAYS}{name}": array for name, array in measured.arrays.items()},
    )


def joined(*parts: Measured) -> Measured:
    """One report of several that have no figure in common."""
    numbers = {address: value for part in parts for address, value in part.numbers.items()}
    return Measured(numbers, {name: array for part in parts for name, array in part.arrays.items()})


def of_rows(numbers: Numbers) -> Numbers:
    """The head's figures of these, under the addresses that the rows' formulas know: the way back of `of_head`."""
    of_head = {address: value for address, value in numbers.items() if address.startswith(OF_HEAD)}
    return {address.replace(OF_HEAD, GEOMETRY, 1): value for address, value in of_head.items()}


FILES = tuple(source.module for source in SOURCES if source.functions & {AT_EVALUATION, AT_END})
"""The files that measure rows."""


def _measured(when: str, readings: Readings, files: Collection[str]) -> Measured:
    """On the CPU where the device's memory doesn't hold it: the same figures, later, and the trial goes on."""
    try:
        return _found(when, readings, files)
    except torch.OutOfMemoryError:
        readings.to_cpu()
    return _found(when, readings, files)  # only here is the memory of the first try let go


def _found(when: str, readings: Readings, files: Collection[str]) -> Measured:
    numbers: Numbers = {}
    arrays: dict[str, np.ndarray] = {}
    for source in SOURCES:
        if source.module in files and when in source.functions:
            found = getattr(import_module(source.module), when)(readings)
            numbers |= found.numbers
            arrays |= found.arrays
    return Measured(numbers, arrays)
