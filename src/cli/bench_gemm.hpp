#pragma once
#include <string>
#include <vector>

#include <nvfp4/kernels.hpp>

#include "bench.hpp"

namespace nvfp4::cli {

/// sm100_nvfp4 of n x n operands by each instruction set that has its own loops (portable where there is no other), on
/// four kinds of block scales, held against the first SGEMM of the dequantized operands.
class GemmBench {
 public:
  explicit GemmBench(int n);
  std::vector<Timed> time(int thread_count, int repetitions, Progress&) const;

 private:
  struct Kind {
    std::string name;
    BlockScaledTensor a, b;
  };
  int n_;
  std::vector<Kind> kinds_;
  Matrix a_, b_;  ///< of the first kind
};

}  // namespace nvfp4::cli
