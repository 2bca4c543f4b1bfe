#pragma once
#include <optional>
#include <string>
#include <vector>

#include <nvfp4/tensor.hpp>

#include "checkpoint.hpp"

namespace nvfp4 {

/// What a stored second-level scale does on the way out. Its bits stay: 1/(a/2688) is not always 2688/a.
enum class ScaleUse : std::uint8_t { multiplies, divides };

/// One for the weight, or one for each matrix of a stack.
struct SecondScale {
  ScaleUse use = ScaleUse::multiplies;
  std::vector<float> values;

  float of(std::int64_t expert) const {
    return values[values.size() == 1 ? 0 : static_cast<std::size_t>(expert)];
  }
};

/// The other direction: 1 / each, in FP32.
SecondScale inverted(const SecondScale&);
/// As `use` has it, the bits kept where it has it already.
SecondScale as(ScaleUse use, const SecondScale&);

/// A block-scaled weight of a checkpoint, whatever its convention: what is known before its bytes are read.
struct Weight {
  std::string name;              ///< of the weight before it was quantized: "P.weight"
  Shape shape;                   ///< of elements, (N, K) or (E, N, K)
  Format scale = Format::ue4m3;  ///< NVFP4, blocks of 16; e8m0 is MXFP4, blocks of 32
  std::optional<ScaleUse> second = {},
                          input =
                              {};  ///< the directions of the weight's second-level scale, and of its input's
  Dtype original = Dtype::bf16;    ///< that it was made from, where the convention says so
  std::vector<std::string> tensors =
      {};  ///< of the checkpoint, that it is made of; those of `second` and `input` last

  std::int64_t rows() const { return elements(shape) / cols(); }
  std::int64_t cols() const { return shape.back(); }
  std::int64_t block() const { return scale == Format::ue4m3 ? 16 : 32; }
  std::int64_t experts() const { return shape.size() == 3 ? shape[0] : 1; }
};

/// With its bytes, in one order: codes (rows, K/2), even column in the low nibble; scales (rows, K/block), linear.
struct StoredWeight {
  Weight weight;
  io::Bytes codes = {}, scales = {};
  std::optional<SecondScale> second = {}, input = {};
};

/// What weight_of(checkpoint, tensor) makes of each tensor that is a weight's first.
template <class WeightOf>
std::vector<Weight> weights_of(const Checkpoint& c, WeightOf weight_of) {
  std::vector<Weight> weights;
  for (const Tensor& t : c.tensors())
    if (std::optional<Weight> w = weight_of(c, t)) weights.push_back(std::move(*w));
  return weights;
}

/// "P" of "P.weight"; the name itself where it has no dot.
std::string module_of(const std::string& weight);

/// The bytes of a vector that lives on with them.
template <class T>
io::Bytes owned(std::vector<T> values) {
  const auto owner = std::make_shared<const std::vector<T>>(std::move(values));
  return {owner, std::as_bytes(std::span(*owner))};
}

}  // namespace nvfp4
