#pragma once
#include <stdexcept>
#include <string>

#include "quantize_block.cuh"

namespace nvfp4::gpu {

/// Columns of a matrix in another order: column j is order[j], or zeros where that is -1.
struct Gathered {
  Elements from;
  const std::int64_t* order;
  std::int64_t rows, cols;

  NVFP4_HOST_DEVICE float at(std::int64_t row, std::int64_t col) const {
    const std::int64_t channel = order[col];
    return channel < 0 ? 0.f : from.at(row, channel);
  }
};

/// launch(D{}) of the dialect among these whose name that is. Throws std::invalid_argument where there is none.
template <class... D, class Launch>
void with_dialect_of(DialectList<D...>, const Dialect& dialect, const Launch& launch) {
  if (!((dialect.name == D::info.name && (launch(D{}), true)) || ...))
    throw std::invalid_argument("no kernel of this scheme quantizes by dialect " + std::string(dialect.name));
}

/// What a tensor of E2M1 in `source` is quantized as, 16 columns a block. Its output has blocks_per_row in a row, of which
/// this may be a part.
template <class Source>
QuantizeTaskOf<Source> task_of(const Source& source, const QuantizeSpec& spec, Dtype dtype,
                               std::int64_t blocks_per_row, const float* amax, const TensorParts& out) {
  return {.x = source,
          .setting = setting(spec, dtype),
          .amaxes = amax,
          .outer = 0,
          .scales_per_row = 1,
          .out = out,
          .row_bytes = 8 * blocks_per_row,
          .blocks_per_row = blocks_per_row,
          .is_stochastic = spec.stochastic.has_value(),
          .stochastic = spec.stochastic.value_or(Stochastic{})};
}

/// Block n of the source, as block `at` of its rows.
template <class D, class Source>
NVFP4_HOST_DEVICE void quantize_as(const QuantizeTaskOf<Source>& t, std::int64_t row, std::int64_t block,
                                   std::int64_t at) {
  const Block<Source> b{t.x, row, 16 * block, t.setting.block.rows, 16};
  const auto tensor = D::tensor(Number(*t.amaxes), t.setting);
  put_block<D>(t, b, at, block_scale<D>(b, tensor), tensor);
}

}  // namespace nvfp4::gpu
