"""What is computed together: kernels per graph, and reports that say why something is not fused."""

import pytest
from ingot import ir
from ingot.jit.codegen.generate import generate
from ingot.jit.codegen.module import GeneratedModule

HEAD = "graph @f(%x: f32[m, n], %w: f32[n]) -> "


def kernels(module: GeneratedModule) -> list[str]:
    """The kernels that belong to the graph: what all products share does not count."""
    return [k.name for k in module.kernels if "shared" not in k.title]


def lower(results: str, body: str, values: str, head: str = HEAD) -> GeneratedModule:
    lines = "\n  ".join(line.strip() for line in body.strip().splitlines())
    return generate(ir.parse(f"{head}({results}) {{\n  {lines}\n  return({values})\n}}"))


def test_a_chain_is_one_kernel() -> None:
    module = lower(
        "f32[m, n]",
        """
        %a: f32[m, n] = mul(%x, %w)
        %b: f32[m, n] = tanh(%a)
        %c: f32[m, n] = transpose(%x) {dim0=0, dim1=1}
        %d: f32[m, n] = add(%b, %x)
        """.replace("%c: f32[m, n] = transpose(%x) {dim0=0, dim1=1}", "%c: f32[m, n] = neg(%a)"),
        "%d",
    )
    assert len(kernels(module)) == 1
    assert not module.buffers


def test_an_intermediate_result_is_a_second_output_of_the_same_kernel() -> None:
    module = lower("f32[m, n], f32[m, n]", "%a: f32[m, n] = exp(%x)\n%b: f32[m, n] = mul(%a, %w)", "%a, %b")
    assert len(kernels(module)) == 1


def test_a_costly_value_that_two_kernels_need_is_stored_and_the_report_says_why() -> None:
    module = lower(
        "f32[m], f32[n]",
        """
        %a: f32[m, n] = exp(%x)
        %b: f32[m] = sum(%a) {dim=(1,)}
        %c: f32[n] = sum(%a) {dim=(0,)}
        """,
        "%b, %c",
    )
    assert any("exp" in line and "stored" in line for line in module.report)


def test_a_cheap_value_is_computed_again_instead() -> None:
    module = lower(
        "f32[m], f32[n]",
        """
        %a: f32[m, n] = neg(%x)
        %b: f32[m] = sum(%a) {dim=(1,)}
        %c: f32[n] = sum(%a) {dim=(0,)}
        """,
        "%b, %c",
    )
    assert len(kernels(module)) == 2
    assert not module.buffers


ROWS = {
    "softmax": "%r: f32[m, n] = softmax(%x) {dim=-1}",
    "log_softmax": "%r: f32[m, n] = log_softmax(%x) {dim=1}",
}


@pytest.mark.parametrize("name", ROWS)
def test_normalising_rows_is_one_kernel(name: str) -> None:
    head = "graph @f(%x: f32[8, 33], %w: f32[33]) -> "
    module = lower("f32[8, 33]", ROWS[name].replace("[m, n]", "[8, 33]"), "%r", head)
    assert len(kernels(module)) == 1
    assert not module.buffers


def test_a_mean_and_what_is_computed_from_it_are_one_kernel() -> None:
    module = lower(
        "f32[m]",
        """
        %a: f32[m] = mean(%x) {dim=(1,)}
        %b: f32[m] = sqrt(%a)
        %c: f32[m] = neg(%b)
        """,
        "%c",
    )
    assert len(kernels(module)) == 1


def test_a_single_row_is_reduced_in_parallel_before_it_is_used() -> None:
    head = "graph @f(%x: f32[n]) -> "
    module = lower("f32[n]", "%a: f32[] = mean(%x)\n%b: f32[n] = sub(%x, %a)", "%b", head)
    assert any("one row only" in line for line in module.report)
    assert [name.rsplit("_", 1)[0] for name in kernels(module)] == ["k_mean_chunks", "k_mean_join", "k_sub"]


def test_views_cost_nothing() -> None:
    head = "graph @f(%x: f32[b, s, 64]) -> "
    module = lower(
        "f32[b, 4, s, 16]",
        """
        %size0: int<b> = dim() {expression=dim<b>}
        %size1: int<s> = dim() {expression=dim<s>}
        %size2: int<4> = constant() {value=4}
        %size3: int<16> = constant() {value=16}
        %r: f32[b, s, 4, 16] = reshape(%x, %size0, %size1, %size2, %size3)
        %t: f32[b, 4, s, 16] = transpose(%r) {dim0=1, dim1=2}
        %y: f32[b, 4, s, 16] = relu(%t)
        """,
        "%y",
        head,
    )
    (name,) = kernels(module)
    source = next(k.source for k in module.kernels if k.name == name)
    inner = source[source.index("@body") : source.index("@kernel")]
    load = next(line for line in inner.splitlines() if "x0[" in line)
    assert "//" not in load and "%" not in load


@pytest.mark.parametrize("result", ["f32[b, 32]", "f32[b, 4, 8]"])
def test_bias_activation_and_residual_go_into_the_product(result: str) -> None:
    head = "graph @f(%x: f32[b, 16], %w: f32[32, 16], %c: f32[32], %r: f32[b, 32]) -> "
    body = """
        %p: f32[b, 32] = linear(%x, %w, %c)
        %q: f32[b, 32] = gelu(%p)
        %s: f32[b, 32] = add(%q, %r)
    """
    value = "%s"
    if result != "f32[b, 32]":
        body += "\n%z: f32[b, 4, 8] = unflatten(%s, %four, %eight) {dim=1}"
        body = "%four: int<4> = constant() {value=4}\n%eight: int<8> = constant() {value=8}\n" + body
        value = "%z"
    module = lower(result, body, value, head)
    assert len(kernels(module)) == 1
    assert any(line.startswith("gelu") and "fused with linear, add" in line for line in module.report)


def test_a_product_that_two_need_is_stored() -> None:
    head = "graph @f(%x: f32[b, 16], %w: f32[32, 16]) -> "
    module = lower(
        "f32[b, 32], f32[b]",
        """
        %p: f32[b, 32] = linear(%x, %w, _)
        %q: f32[b, 32] = relu(%p)
        %s: f32[b] = sum(%p) {dim=(1,)}
        """,
        "%q, %s",
        head,
    )
    assert len(kernels(module)) == 3


def test_products_read_through_transposes() -> None:
    head = "graph @f(%a: f32[k, m], %b: f32[n, k]) -> "
    module = lower(
        "f32[m, n]",
        """
        %s: f32[m, k] = transpose(%a) {dim0=0, dim1=1}
        %t: f32[k, n] = transpose(%b) {dim0=0, dim1=1}
        %p: f32[m, n] = matmul(%s, %t)
        """,
        "%p",
        head,
    )
    assert len(kernels(module)) == 1


def test_what_is_not_used_is_not_computed() -> None:
    module = lower("f32[m, n]", "%a: f32[m, n] = exp(%x)\n%b: f32[m, n] = neg(%x)", "%b")
    assert [name.rsplit("_", 1)[0] for name in kernels(module)] == ["k_neg"]


def test_the_report_says_of_every_instruction_where_it_is_computed_and_why():
    module = lower(
        "f32[8, 8]",
        """
        %m: f32[8, 8] = matmul(%x, %w)
        %e: f32[8, 8] = exp(%m)
        %t: f32[8, 8] = matmul(%m, %w)
        %n: f32[8, 8] = neg(%t)
        %s: f32[8, 8] = add(%e, %n)
        """,
        "%s",
        "graph @f(%x: f32[8, 8], %w: f32[8, 8]) -> ",
    )
    report = {line.split(":")[0]: line for line in reversed(module.report)}
    assert "not fused with what follows: matmul reads its result from memory" in report["matmul"]
    assert "fused with matmul" in report["neg"]
    assert "fused with matmul" in report["exp"]
    assert "stored, because it is a result" in report["add"]
    assert len(module.report) == 5


def test_the_report_says_how_images_are_kept():
    module = lower(
        "f32[2, 16, 8, 8]",
        """
        %a: f32[2, 16, 8, 8] = conv2d(%x, %w, _) {stride=(1, 1), padding=(1, 1)}
        %b: f32[2, 16, 8, 8] = relu(%a)
        %c: f32[2, 16, 8, 8] = conv2d(%b, %w, _) {stride=(1, 1), padding=(1, 1)}
        """,
        "%c",
        "graph @f(%x: f32[2, 16, 8, 8], %w: f32[16, 16, 3, 3]) -> ",
    )
    assert any(
        line.startswith("relu") and "channels last, inside a border of zeros (1, 1, 1, 1)" in line
        for line in module.report
    )
    assert not any(line.startswith("conv2d") and "border" in line for line in module.report)
