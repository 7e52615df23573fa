"""The towers run by ONNX Runtime, and the encoder made of them.

The graphs are built in memory and handed over as bytes; the weights are found through the
checkpoint's own folder, mapped. Nothing is written, so a checkpoint may lie in a folder that is
read-only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import cast

import onnxruntime as ort
from onnx import ModelProto

from keshin.core.checkpoint import Checkpoint, TensorFile
from keshin.core.config import Config
from keshin.core.late_tokenizer import LateTokenizer
from keshin.encode.encoder import Encoder, FloatArray, IntArray
from keshin.encode.graph import image_graph, text_graph
from keshin.encode.graph_tree import text_tree_graph
from keshin.encode.pipeline import available_cores
from keshin.encode.prefix_tree import PrefixTree
from keshin.errors import KeshinError

DEFAULT_PROVIDERS = ("CPUExecutionProvider",)
WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
SPINNING = "session.intra_op.allow_spinning"
NO_PREPACKING = "session.disable_prepacking"
QUIET = 3  # errors only

Builder = Callable[[Config, TensorFile], ModelProto]


class OnnxTowers:
    """Both towers of a checkpoint. Each session is made when it is first needed.

    ``prepack`` rearranges the weights for speed, which takes a copy of them and, for a ViT-B/32,
    0.3 s; a program that encodes a dozen pictures and ends is done sooner without.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        threads: int | None = None,
        providers: Sequence[str] | None = None,
        prepack: bool = True,
    ) -> None:
        self.checkpoint = checkpoint
        self.prepack = prepack
        self.threads = available_cores() if threads is None else threads
        if self.threads < 1:
            raise KeshinError(f"threads is {threads}. Use 1 or more, or None for all cores.")
        self.providers = list(DEFAULT_PROVIDERS if providers is None else providers)
        if unknown := set(self.providers) - set(ort.get_available_providers()):
            raise KeshinError(
                f"This ONNX Runtime has no {', '.join(sorted(unknown))}; it has "
                f"{', '.join(ort.get_available_providers())}. "
                "Choose one of these, or install the onnxruntime package that brings it."
            )

    def image_features(self, pixels: FloatArray) -> FloatArray:
        """(n, 3, h, w) preprocessed pictures -> (n, d) features, not normalised."""
        return cast(FloatArray, self._images.run(["features"], {"pixels": pixels})[0])

    def text_features(self, ids: IntArray, ends: IntArray) -> FloatArray:
        """(n, length) token ids and (n,) end-of-text positions -> (n, d), not normalised."""
        return cast(FloatArray, self._texts.run(["features"], {"ids": ids, "ends": ends})[0])

    def text_tree_features(self, tree: PrefixTree) -> FloatArray:
        """The b texts of a prefix tree -> (b, d), not normalised; of causal towers only."""
        return cast(FloatArray, self._trees.run(["features"], vars(tree))[0])

    @cached_property
    def _images(self) -> ort.InferenceSession:
        return self._session(image_graph)

    @cached_property
    def _texts(self) -> ort.InferenceSession:
        return self._session(text_graph)

    @cached_property
    def _trees(self) -> ort.InferenceSession:
        return self._session(text_tree_graph)

    def _session(self, build: Builder) -> ort.InferenceSession:
        tensors = self.checkpoint.tensors
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1  # the graphs are chains: no two nodes run at once
        options.log_severity_level = QUIET
        # Threads that spin while they wait would take a core from those that decode pictures.
        options.add_session_config_entry(SPINNING, "0")
        options.add_session_config_entry(NO_PREPACKING, "0" if self.prepack else "1")
        options.add_session_config_entry(WEIGHTS_FOLDER, str(tensors.path.resolve().parent))
        model = build(self.checkpoint.config, tensors).SerializeToString()
        return ort.InferenceSession(model, options, providers=self.providers)


def onnx_encoder(
    checkpoint: Checkpoint,
    threads: int | None = None,
    providers: Sequence[str] | None = None,
    prepack: bool = True,
) -> Encoder:
    """A checkpoint as an encoder that runs without PyTorch.

    The tokenizer is read with the first text, and a ``CheckpointError`` about it comes then.
    """
    mark = checkpoint.mark  # of the files as they are opened; later ones are not what runs

    def recognise() -> str:
        return mark if mark == checkpoint.mark else ""

    return Encoder(
        config=checkpoint.config,
        tokenizer=LateTokenizer(checkpoint.tokenizer),
        towers=OnnxTowers(checkpoint, threads=threads, providers=providers, prepack=prepack),
        logit_scale=checkpoint.logit_scale,
        identify=lambda: checkpoint.fingerprint,
        recognise=recognise,
        threads=threads,
    )
