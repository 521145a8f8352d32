"""Code generation for CUDA devices: the fusion groups of the CPU path as `@cuda.jit` Python."""
