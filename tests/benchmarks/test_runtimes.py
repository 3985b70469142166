"""How ONNX Runtime and OpenVINO compare: what is compared, and how the page reads. Nothing is timed here."""

from benchmarks.engines import LOADS, engines
from benchmarks.runtimes import write_page


def test_ratios_are_taken_turn_by_turn() -> None:
    """The median of the turns' own ratios stands beside the median time, and more than 1 is faster."""
    turns = {"32": {"int8": [20.0, 40.0, 30.0], "int8, OpenVINO": [10.0, 40.0, 20.0]}}
    page = write_page(
        turns,
        {"64 × 1": {"int8": [50.0], "int8, OpenVINO": [40.0]}},
        {"int8": [118.0], "int8, OpenVINO": [190.0]},
        {"int8": [0.7], "int8, OpenVINO": [1.0]},
        {"machine": "one"},
    )
    assert "| 32 | 30 | 20 [1.5 (1–2)] |" in page
    assert "| 64 × 1 | 50 | 40 [1.25 (1.25–1.25)] |" in page
    assert "| int8, OpenVINO | 190 (190–190) | 1 (1–1) |" in page
    assert "- machine: one" in page


def test_the_engines_are_what_they_are_called() -> None:
    """Each predicts in the precision and the runtime of its name, and batches of all sizes are among the loads."""
    found = engines()
    assert {"float32", "int8"} <= found.keys()
    for name, engine in found.items():
        precision, _, runtime = name.partition(", ")
        assert engine.precision == {"float32": "fp32", "int8": "int8", "bfloat16": "bf16"}[precision]
        assert engine.runtime == ("openvino" if runtime == "OpenVINO" else "onnxruntime")
        assert engine.threads == 1
    assert len(set(LOADS["1 to 32, mixed"])) > 12 and max(map(max, LOADS.values())) == 256
