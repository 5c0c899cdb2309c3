"""What every evaluation of a trial reads: losses, geometry, retention."""

import math
from collections.abc import Callable

import numpy as np

from wake2vec.inputs import Material
from wake2vec.metrics.measure import joined, measure, of_head
from wake2vec.metrics.readings import Measured
from wake2vec.metrics.retention import retention_bits, retention_numbers
from wake2vec.metrics.validation import validate
from wake2vec.training.embedding_model import EmbeddingModel
from wake2vec.training.train import Stopwatch, Training
from wake2vec.workfolder import Numbers


class Evaluator:
    """Of one training, made before a checkpoint is read, since drift is from the rows of step 0."""

    def __init__(
        self,
        training: Training,
        material: Material,
        replaced_head: Callable[[], EmbeddingModel | None],
        watch: Stopwatch,
    ) -> None:
        """`replaced_head` gives the model at step 0 with the head that is thrown away for its input embedding."""
        self._training = training
        self._material = material
        self._replaced_head = replaced_head
        self._watch = watch
        # On a GPU its memory is for training.
        self._new_before = {name: of.new_rows.to("cpu", copy=True) for name, of in training.model.trained.items()}
        # Here too: a trial of an earlier version that goes on from its checkpoint has no record of it.
        self.start_bits_per_byte = self._retention()
        """Of the retention text, at step 0."""
        self.arrays: dict[str, np.ndarray] = {}
        """Geometry's, of the last evaluation, for pictures."""

    def __call__(self) -> Numbers:
        """The figures of the rows as they are now.

        Raises:
            TrainingDivergedError: the loss isn't finite, as where rows aren't: they have no geometry.
        """
        with self._watch("validate"):
            losses = self._losses(self._training.model)
            loss = losses["validation.loss"]
            if loss is None or not math.isfinite(loss):
                lower = "train.lr" if self._training.step else "init.noise_scale"
                raise self._training.diverged(f"validation loss {loss}", lower)
            if self._training.step == 0 and (own := self._replaced_head()):
                losses["validation.start_loss_own_head"] = self._losses(own)["validation.loss"]
        geometry = self.geometry()
        bits = self._retention() if self._training.step else self.start_bits_per_byte
        return losses | geometry.numbers | retention_numbers(bits, self.start_bits_per_byte)

    def geometry(self) -> Measured:
        """Of the rows as they are now; its arrays are kept."""
        model = self._training.model
        with self._watch("geometry"):
            geometry = measure(self._material.subject(model.matrix, self._new_before["rows"]))
            if model.has_own_head:
                subject = self._material.subject(model.head.matrix, self._new_before["head_rows"], "head_rows")
                geometry = joined(geometry, of_head(measure(subject)))
        self.arrays = geometry.arrays
        return geometry

    def _losses(self, model: EmbeddingModel) -> Numbers:
        corpus, base_size = self._material.corpus, self._material.vocabulary.base_size
        return self._training.evaluate(lambda blocks: validate(model, corpus, base_size, blocks))

    def _retention(self) -> float:
        with self._watch("retention"):
            return self._training.evaluate(
                lambda blocks: retention_bits(self._training.model, self._material.retention, blocks)
            )
