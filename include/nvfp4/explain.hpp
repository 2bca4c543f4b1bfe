#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nvfp4/kernels.hpp>
#include <nvfp4/quantize.hpp>

/// One value through every step of a dialect.
namespace nvfp4 {

/// Why a number became a code, in magnitudes: its neighbours, whether it is a tie, which way and why.
struct RoundingStory {
  float low = 0, high = 0;  ///< the neighbouring values; equal where the number is one itself, or saturates
  bool tie = false;
  std::string why{};
};

struct ExplainedStep {
  std::string text;          ///< "2688 / 12", "round to E2M1"
  float value = 0;           ///< its result; of a rounding, what is rounded
  bool is_rounding = false;  ///< to a code; what follows is of it
  std::uint32_t code = 0;
  std::string fields{};                  ///< its sign, exponent and mantissa: "0 10 1"
  std::optional<RoundingStory> story{};  ///< of a rounding to nearest, ties to even
};

struct Explanation {
  QuantizeSpec spec{};
  float value = 0, amax = 0, tensor_amax = 0;
  std::vector<ExplainedStep> tensor_scale{}, block_scale{}, element{}, dequantize{};
  std::uint32_t scale_code = 0, code = 0;
  float result = 0;
};

struct ExplainQuestion {
  QuantizeSpec spec{};  ///< blocks of one row; where it is stochastic, `random` rounds
  Dtype dtype = Dtype::fp32;
  std::vector<float> values{};  ///< of one block, or each of a block of its own where they are too many
  std::optional<float> amax{};  ///< of the block; else the values' largest magnitude
  std::optional<float> tensor_amax{};  ///< else the block's
  std::uint8_t random = 0;
};

/// One a value. Throws std::invalid_argument for maxima that these values or this dialect cannot have and values that
/// the dtype has not; std::logic_error where what `judge` quantizes is another code, scale or value.
std::vector<Explanation> explain(const ExplainQuestion&, const Kernels& judge = cpu_kernels());

/// The walk as text, a line a step.
std::string describe(const Explanation&);

/// The `nvfp4 explain` line that gives it.
std::string explain_command(const ExplainQuestion&);

}  // namespace nvfp4
