#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <nvfp4/formats.hpp>
#include <nvfp4/scale.hpp>

namespace nvfp4 {

/// The element type of a high-precision matrix. BF16 and FP16 are widened exactly before any arithmetic.
enum class Dtype : std::uint8_t { fp32, bf16, fp16 };
constexpr std::size_t size_of(Dtype t) { return t == Dtype::fp32 ? 4 : 2; }
constexpr std::string_view name(Dtype t) {
  return t == Dtype::fp32 ? "fp32" : t == Dtype::bf16 ? "bf16" : "fp16";
}

/// Rows and columns that share a block scale.
struct BlockShape {
  int rows = 1, cols = 16;
  friend bool operator==(const BlockShape&, const BlockShape&) = default;
};

/// By which of a block's errors the four-over-six dialects choose between a largest element of 4 and 6.
enum class Select : std::uint8_t { mae, mse, absmax };
constexpr std::string_view name(Select s) {
  return s == Select::mae ? "mae" : s == Select::mse ? "mse" : "absmax";
}

/// Options of the four-over-six dialects.
struct FourOverSix {
  int e4m3_max = 448;  ///< or 256: what the largest block scale is to become
  Select select = Select::mae;
  bool error_fast = false;  ///< errors in the tensor's scaled units, TE's fast error arithmetic
  friend bool operator==(const FourOverSix&, const FourOverSix&) = default;
};

/// What a dialect's steps may know besides numbers.
struct Setting {
  Dtype dtype = Dtype::fp32;  ///< of the input: some producers compute scales in it
  BlockShape block{};
  FourOverSix four_over_six{};
};

/// One producer's order of FP32 operations and its edge policies. In this field the order of operations
/// is part of the format: orders that agree over the reals differ in the last bit. This record says
/// what a dialect is; its steps are written once, in include/nvfp4/dialects.
struct Dialect {
  std::string_view name;
  std::string_view version;  ///< of the producer whose bytes this is
  std::string_view source;   ///< what was read or run
  std::string_view
      evidence;  ///< "golden" (held by the producer's own bytes), "code", "documented"; or "inferred: WHAT"
  GlobalIs global_is;
  int global_divisor = 0;           ///< where global_is amax: decode scale = amax / divisor
  bool nan_in_tensor_amax = false;  ///< a NaN makes the tensor amax NaN; else it is dropped
  bool nan_in_block_amax = false;   ///< the same of a block's
  bool nan_codes_vary = false;      ///< codes under a NaN scale are its machine's accident: not compared
  bool per_row = false;             ///< its second-level scale is one a row, always
  bool four_over_six = false;       ///< takes the options of that name
  bool stochastic = false;          ///< its producer rounds elements at random, too: it has scaled()
  bool tensor_core_rht = false;     ///< its transform of BF16 runs on tensor cores
  bool unrounded_rht = false;  ///< whose sums it quantizes as they are, under the amax of the rounded ones
  bool bf16_steps = false;     ///< some of its steps round to, or cut from, BF16, whatever the input's type
  int outer_cols = 0;          ///< per_row: so many columns of a row share that scale; 0: all do
  int block_cols = 16;
  Format element = Format::e2m1;
  Format scale = Format::ue4m3;
  /// Of block scales. ties_away is vLLM's E8M0, which goes up from 1.75.
  Rounding scale_rounding = Rounding::nearest_even;
};

/// How a stored scale byte decodes: bit 7 is a sign in E4M3.
constexpr Format scale_format(const Dialect& d) { return d.scale == Format::ue4m3 ? Format::e4m3 : d.scale; }

}  // namespace nvfp4
