#pragma once
#include <nvfp4/hadamard.hpp>
#include <nvfp4/tensor.hpp>

#include "isa/isa.hpp"

namespace nvfp4::cpu {

/// diag(sign) H c of size 16.
struct Entries16 {
  float at[16][16];
  Entries16(const Hadamard&, Dtype);
};

/// As in Kernels.
Matrix hadamard(const isa::Table&, MatrixView, const Hadamard&);

}  // namespace nvfp4::cpu
