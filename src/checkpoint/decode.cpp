#include "decode.hpp"

#include <limits>
#include <numeric>
#include <vector>

#include "convention.hpp"

namespace nvfp4 {
namespace {

void fill(std::span<float> values, Format format, const Kernels& kernels) {
  std::vector<std::uint32_t> codes(values.size());
  std::iota(codes.begin(), codes.end(), 0);
  kernels.decode(codes, format, values);
}

}  // namespace

DecodeTables decode_tables(Format scale, const Kernels& kernels) {
  DecodeTables tables;
  fill(tables.elements, Format::e2m1, kernels);
  fill(tables.scales, scale == Format::ue4m3 ? Format::e4m3 : scale, kernels);
  if (scale == Format::e8m0) tables.scales[255] = std::numeric_limits<float>::infinity();
  return tables;
}

Matrix decoded_by(const Dialect& dialect, const StoredWeight& w, std::int64_t expert,
                  const Kernels& kernels) {
  return kernels.dequantize(block_scaled(w, dialect, expert));
}

}  // namespace nvfp4
