#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nvfp4/compare.hpp>
#include <nvfp4/diagnose.hpp>
#include <nvfp4/layout.hpp>
#include <nvfp4/tensor.hpp>

namespace nvfp4 {

/// All of a quantized result as somebody stored it.
struct StoredResult {
  BlockScaledTensor tensor{};          ///< its scales as linear ones, cut or filled with 0 where they are not
  std::vector<std::uint8_t> scales{};  ///< as they were stored
  std::vector<std::uint8_t> swizzled{};  ///< the same in `layout`, where they were stored so too
  ScaleLayout layout = ScaleLayout::linear;
  std::optional<BlockScaledTensor> columns{};  ///< of the transpose
};

/// Bytes first, values second, and why.
struct DiffReport {
  std::int64_t differing_bytes = 0, differing_values = 0;
  std::optional<Mismatch> first{};
  std::vector<Diagnosis> diagnosis{};
  std::string text{};  ///< empty where equal
  bool equal() const { return differing_bytes == 0; }
};

/// Of the rows, and where those are equal of swizzled scales and of columns that both have. With `input`, what was
/// quantized, as diagnose() says.
DiffReport diff(const StoredResult& expected, const StoredResult& actual, MatrixView input = {});

}  // namespace nvfp4
