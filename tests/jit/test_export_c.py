"""Models exported as C, built with the C compiler where there is one, give what Python gives."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import ingot
import numpy as np
import pytest
from ingot import jit, nn
from ingot.jit.errors import Unsupported
from ingot.jit.export_c import export_c

CC = shutil.which("cc")
needs_cc = pytest.mark.skipif(CC is None, reason="there is no C compiler")


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., str]:
    """Exports a function, builds it with a main function, strictly, and returns what that prints."""

    def run(function: jit.CompiledFunction, main: str, *options: str, compiler: str = str(CC)) -> str:
        exported = export_c(function, tmp_path, name="model")
        program = tmp_path / "main.c"
        program.write_text(
            f'#include "model.h"\n#include <stdio.h>\n#include <stdlib.h>\n'
            f'int main(void) {{\nmodel_model *m = model_open("{exported.weights}");\nif (!m) return 2;\n{main}\n'
            "model_close(m);\nreturn 0;\n}\n"
        )
        flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-O1", *options]
        objects = [str(path) for path in exported.objects]
        command = [compiler, *flags, str(program), str(exported.source), *objects, "-lm", "-o", str(tmp_path / "main")]
        built = subprocess.run(command, capture_output=True, text=True)
        assert built.returncode == 0, built.stderr
        return subprocess.run([str(tmp_path / "main")], check=True, capture_output=True, text=True).stdout

    return run


Build = Callable[..., str]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 17)
        self.second = nn.Linear(17, 3)

    def forward(self, x: ingot.Tensor) -> ingot.Tensor:
        return self.second(self.first(x).relu()).softmax(-1)


@needs_cc
def test_a_module_with_parameters(build: Build) -> None:
    ingot.manual_seed(0)
    traced = jit.trace(Net().eval(), ingot.randn(2, 5))
    printed = build(
        traced,
        """
float x[3 * 5], y[3 * 3];
int64_t shape[2];
for (int i = 0; i < 15; i++) x[i] = (float)i / 7 - 1;
model_result0_shape(3, shape);
if (shape[0] != 3 || shape[1] != 3) return 3;
int64_t code = model_run(m, 3, x, y);
if (code) { printf("%s", model_message(code)); return 4; }
for (int i = 0; i < 9; i++) printf("%.9g ", y[i]);
""",
    )
    x = np.arange(15, dtype=np.float32).reshape(3, 5) / np.float32(7) - 1
    expected = traced(ingot.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(np.array(printed.split(), np.float32).reshape(3, 3), expected, rtol=1e-6)


@needs_cc
def test_loops_on_threads(build: Build, tmp_path: Path) -> None:
    (tmp_path / "probe.c").write_text("#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n")
    probe = [str(CC), "-fopenmp", str(tmp_path / "probe.c"), "-o", str(tmp_path / "probe")]
    if subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("the C compiler has no OpenMP")
    traced = jit.trace(lambda x: (x * 2 + 1).sum(1), ingot.ones(3, 4))
    main = """
int64_t rows = 100003;
float *x = malloc(rows * 5 * sizeof *x), *y = malloc(rows * sizeof *y);
for (int64_t i = 0; i < rows * 5; i++) x[i] = (float)(i % 101);
if (model_run(m, rows, 5, x, y)) return 4;
double sum = 0;
for (int64_t i = 0; i < rows; i++) sum += y[i] * (double)(i % 7);
printf("%.17g", sum);
free(x);
free(y);
"""
    assert build(traced, main) == build(traced, main, "-fopenmp")


def collatz(n: int, weight: float) -> tuple[int, float]:
    if n <= 0:
        raise ValueError("n must be positive?")
    steps = 0
    total = 0.0
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
        total += weight
    return steps, total


@needs_cc
def test_numbers_and_errors(build: Build) -> None:
    scripted = jit.script(collatz)
    assert scripted(27, 0.5) == (111, 55.5)
    printed = build(
        scripted,
        """
int64_t steps; double total;
if (model_run(m, 27, 0.5, &steps, &total)) return 3;
printf("%d %.1f %s %s", (int)steps, total, model_message(model_run(m, 0, 0.5, &steps, &total)), model_message(999));
""",
    )
    assert printed == "111 55.5 ValueError: n must be positive? unknown code"


@needs_cc
def test_results_of_unknown_size_and_conditions(build: Build) -> None:
    traced = jit.trace(lambda x, y: ((x + y).nonzero(), (x * y).sum()), (ingot.ones(3), ingot.ones(3)))
    printed = build(
        traced,
        """
float x[4] = {0, 1, 0, 2}, y[4] = {0, 1, 0, 3}, sum;
int64_t *found, shape[2];
if (model_run(m, 4, x, y, &found, shape, &sum)) return 3;
printf("%d %d: %d %d, %.0f", (int)shape[0], (int)shape[1], (int)found[0], (int)found[1], sum);
free(found);
printf(", %s", model_message(model_run(m, -1, x, y, &found, shape, &sum)));
""",
    )
    assert printed == "2 1: 1 3, 7, the size s1 is negative"


@needs_cc
def test_arguments_that_are_written(build: Build) -> None:
    def double(x: ingot.Tensor) -> ingot.Tensor:
        x *= 2
        return x + 1

    printed = build(
        jit.trace(double, ingot.ones(2)),
        "float x[2] = {1, 2}, y[2];\n"
        "if (model_run(m, 2, x, y)) return 3;\n"
        'printf("%.0f %.0f %.0f %.0f", x[0], x[1], y[0], y[1]);',
    )
    assert printed == "2 4 3 5"


@needs_cc
def test_other_weights_are_refused(build: Build, tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    printed = build(
        jit.trace(Net().eval(), ingot.randn(2, 5)),
        f'printf("%d %d", model_open("{tmp_path / "bad"}") == NULL, model_open("{tmp_path / "none"}") == NULL);',
    )
    assert printed == "1 1"


def test_other_targets(tmp_path: Path) -> None:
    traced = jit.trace(lambda x: x * 2, ingot.ones(3))
    exported = export_c(traced, tmp_path / "new" / "folder", target="aarch64-neoverse-n1")
    assert exported.header.parent == tmp_path / "new" / "folder" and "neoverse-n1" in exported.header.read_text()
    assert all(path.read_bytes()[:4] == b"\x7fELF" and path.read_bytes()[18] == 183 for path in exported.objects)


def test_what_has_no_form_in_c(tmp_path: Path) -> None:
    def numbers(n: int) -> list[int]:
        found: list[int] = []
        for i in range(n):
            found.append(i)
        return found

    scripted = jit.script(numbers)
    assert scripted(3) == [0, 1, 2]
    with pytest.raises(Unsupported, match="has no form in C"):
        export_c(scripted, tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="not a C identifier"):
        export_c(jit.trace(lambda x: x * 2, ingot.ones(3)), tmp_path, name="2x")


CXX = shutil.which("c++")


@needs_cc
@pytest.mark.parametrize("language", ["c", "c++"])
def test_models_beside_each_other(tmp_path: Path, language: str) -> None:
    """Two models with the same kernels and the same name in Python, in one program of C or C++."""
    compiler = CC if language == "c" else CXX
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    ingot.manual_seed(0)
    x = np.arange(10, dtype=np.float32).reshape(2, 5) / np.float32(7) - 1
    objects, expected, parts = [], [], []
    for name in ("one", "two"):
        traced = jit.trace(Net().eval(), ingot.randn(2, 5))
        exported = export_c(traced, tmp_path, name=name)
        source = tmp_path / f"{name}.o"
        subprocess.run([str(CC), "-c", str(exported.source), "-o", str(source)], check=True)
        objects += [str(source), *map(str, exported.objects)]
        expected.append(traced(ingot.from_numpy(x)).detach().numpy())
        parts.append(
            f"""{{ {name}_model *m = {name}_open("{exported.weights}"); float y[6];
            if (!m || {name}_run(m, 2, x, y)) return 1;
            for (int i = 0; i < 6; i++) printf("%.9g ", y[i]);
            {name}_close(m); }}"""
        )
    main = tmp_path / ("main.c" if language == "c" else "main.cc")
    main.write_text(
        '#include "one.h"\n#include "two.h"\n#include <stdio.h>\nint main(void) { float x[10];\n'
        + "for (int i = 0; i < 10; i++) x[i] = (float)i / 7 - 1;\n"
        + "\n".join(parts)
        + "\nreturn 0; }\n"
    )
    command = [compiler, "-Wall", "-Werror", str(main), *objects, "-lm", "-o", str(tmp_path / "main")]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    printed = subprocess.run([str(tmp_path / "main")], check=True, capture_output=True, text=True).stdout
    values = np.array(printed.split(), np.float32).reshape(2, 2, 3)
    np.testing.assert_allclose(values, expected, rtol=1e-6)


def strange_names(
    model: ingot.Tensor, total: float, int_: int, size_s0: float, result0: float, xor: bool, NULL: float
) -> tuple[ingot.Tensor, float, bool]:
    if xor:
        return model * total + int_, size_s0 - result0, not xor
    return model, NULL, xor


@needs_cc
def test_names_that_mean_something_in_c(build: Build) -> None:
    scripted = jit.script(strange_names)
    scripted.graph_for(ingot.ones(2), 2.0, 3, 4.0, 5.0, True, 6.0)
    printed = build(
        scripted,
        """
float x[2] = {1, 2}, y[2];
double f;
int64_t b;
float *out = 0;
int64_t shape[1];
(void)out; (void)shape; (void)y;
int64_t code = RUN;
if (code) { printf("%s", model_message(code)); return 4; }
printf("%g %g %g %d", Y[0], Y[1], f, (int)b);
""".replace("RUN", "model_run(m, 2, x, 2, 3, 4, 5, 1, 6, y, &f, &b)").replace("Y", "y"),
    )
    assert printed == "5 7 -1 0"
