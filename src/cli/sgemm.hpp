#pragma once
#include <functional>
#include <string>
#include <vector>

namespace nvfp4::cli {

/// Another library's FP32 product c = a * transpose(b) of n x n row-major matrices.
struct Sgemm {
  std::string name;  ///< with the core that its kernels are for
  std::function<void(int n, const float* a, const float* b, float* c, int threads)> multiply;
};

/// OpenBLAS, where this machine has it, with kernels for the best instruction set that it has; then Eigen.
std::vector<Sgemm> sgemms();

/// What is not among them here, and what it needs.
std::vector<std::string> missing_sgemms();

/// Eigen's by the instruction set that its file is compiled for.
void eigen_sgemm(int n, const float* a, const float* b, float* c, int threads);

}  // namespace nvfp4::cli
