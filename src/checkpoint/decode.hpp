#pragma once
#include <array>
#include <cstdint>
#include <limits>

#include <nvfp4/kernels.hpp>

#include "weight.hpp"

namespace nvfp4 {

/// What a loader takes codes and scale bytes for.
struct DecodeTables {
  std::array<float, 16> elements;
  std::array<float, 256> scales;
};

/// The formats' own values; 0xFF of E8M0 is infinite, as every loader's exp2(255 - 127) is.
DecodeTables decode_tables(Format scale, const Kernels&);

/// One matrix (an expert) of the weight, by its convention's dialect.
Matrix decoded_by(const Dialect&, const StoredWeight&, std::int64_t expert, const Kernels&);

/// Every NaN is the default quiet one.
inline float canonical(float x) { return x == x ? x : std::numeric_limits<float>::quiet_NaN(); }

/// The same by step(element, block scale, second-level scale), each in FP32; the last is 1 where there is none.
template <class Step>
Matrix decoded(const StoredWeight& w, std::int64_t expert, const DecodeTables& tables, Step step) {
  const std::int64_t rows = w.weight.rows() / w.weight.experts(), bytes = w.weight.block() / 2;
  Matrix values(rows, w.weight.cols());
  const auto blocks = static_cast<std::size_t>(rows * w.weight.cols() / w.weight.block());
  const auto first = static_cast<std::size_t>(expert) * blocks;
  const std::uint8_t* codes = w.codes.u8().data() + first * static_cast<std::size_t>(bytes);
  const std::uint8_t* scales = w.scales.u8().data() + first;
  const float second = w.second ? w.second->of(expert) : 1;
  float* out = values.f32();
  for (std::size_t b = 0; b < blocks; ++b) {
    const float scale = tables.scales[scales[b]];
    for (std::int64_t i = 0; i < bytes; ++i, ++codes) {
      *out++ = canonical(step(tables.elements[*codes & 15], scale, second));
      *out++ = canonical(step(tables.elements[*codes >> 4], scale, second));
    }
  }
  return values;
}

}  // namespace nvfp4
