#pragma once
#include <cstdint>
#include <vector>

#include "code_rows.hpp"
#include "panels.hpp"

/// Operands as numbers, for sums that are defined by values alone: element * scale, exact in FP64, and so is the
/// product of two.
namespace nvfp4::cpu {

struct ValueRows {
  ValueRows(const CodeRows&, std::int64_t padded_k);
  const double* row(std::int64_t i) const { return values.data() + i * k; }

  std::int64_t k;
  std::vector<double> values;
  /// What a row's values are: multiples of 2^lowest_bit below 2^(highest_bit + 1).
  struct Range {
    int lowest_bit = 1024, highest_bit = -1024;
    bool finite = true;  ///< else the bits are those of the others
    void add(double value);
  };
  std::vector<Range> ranges;
};

/// Codes of FP32 sums over [first, first + n) of a row of each.
std::uint32_t exact_sum(const ValueRows& a, std::int64_t i, const ValueRows& b, std::int64_t j,
                        std::uint32_t c);
/// p = RNE of the exact sum, c = RZ of c + p; E2M1 elements under UE4M3 scales.
std::uint32_t add_chunk(const ValueRows& a, std::int64_t i, const ValueRows& b, std::int64_t j,
                        std::int64_t first, std::int64_t n, std::uint32_t c);
std::uint32_t add_in_order(const ValueRows& a, std::int64_t i, const ValueRows& b, std::int64_t j,
                           std::int64_t k, std::uint32_t c);

/// The same sums from C = +0, tiles at a time.
class ValueTiles {
 public:
  ValueTiles(const ValueRows& a, const ValueRows& b, const Accumulation&);
  /// D of a tile, isa::panel numbers a row.
  void sum(const isa::Tiles&, const Tile&, float* out) const;
  /// Whether D is right at row i of a and j of b.
  bool hold(std::int64_t i, std::int64_t j) const;

 private:
  const ValueRows &a_, &b_;
  const Accumulation& acc_;
  std::vector<double> panels_;
};

}  // namespace nvfp4::cpu
