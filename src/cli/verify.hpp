#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <nvfp4/kernels.hpp>

#include "command.hpp"

namespace nvfp4::cli {

/// A layer that is held against the reference; without kernels it is not run here.
struct Layer {
  std::string name;
  const Kernels* kernels;
};

/// How one layer did on one dialect, or on the scalar formats.
struct VerifyRow {
  std::string what, layer;
  std::int64_t cases = 0, equal = 0, differing_bytes = 0, not_run = 0;
};

struct Verification {
  bool full = false;
  std::uint64_t seed = 0;  ///< of the random cases
  std::vector<VerifyRow> rows{};
  Json first{};        ///< the first difference, if any
  std::string text{};  ///< the same in one line
  std::string gpu{};   ///< what the gpu layer ran on
  std::vector<std::string>
      notes{};  ///< of instructions: what this GPU lacks, and which hypotheses its results leave
  VerifyRow total() const;
};

/// Adds up one row and keeps the first difference of all. The row is filed by the destructor.
class Tally {
 public:
  Tally(Verification& verification, std::string what, const Layer& layer)
      : verification_(verification), row_{.what = std::move(what), .layer = layer.name} {}
  ~Tally() { verification_.rows.push_back(row_); }

  void not_run(std::size_t cases) { row_.not_run += static_cast<std::int64_t>(cases); }

  /// explain(json, text) adds to both; it is asked only where this is the first difference.
  void count(std::int64_t differing_bytes, const std::function<void(Json&, std::string&)>& explain);

 private:
  Verification& verification_;
  VerifyRow row_;
};

/// Every case pack through one dialect: block shapes, tensor scales, dtypes; quantize and dequantize.
void verify_dialect(const Dialect&, const std::vector<Layer>&, Verification&);

/// Every format, rounding, overflow and target; encode and decode.
void verify_formats(const std::vector<Layer>&, Verification&);

/// Every accumulation by instructions, products of tensors, and what a GEMM does beside them.
void verify_products(const std::vector<Layer>&, Verification&);

/// Stochastic rounding, Hadamard transforms, column-wise copies, and a linear layer by every recipe.
void verify_training(const std::vector<Layer>&, Verification&);

/// Single instructions of the GPU against what the library says of them.
void verify_instructions(Verification&);

/// work(0) .. work(count - 1), on as many threads as threads() says.
void parallel_for(std::size_t count, const std::function<void(std::size_t)>& work);

/// One self-contained page: no scripts, styles or pictures from elsewhere.
std::string html_report(const Verification&);

}  // namespace nvfp4::cli
