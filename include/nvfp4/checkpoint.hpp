#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <nvfp4/glob.hpp>
#include <nvfp4/io/output.hpp>
#include <nvfp4/kernels.hpp>
#include <nvfp4/quantize.hpp>

/// Whole checkpoints, library nvfp4::checkpoint.
namespace nvfp4 {

struct CheckpointOptions {
  QuantizeSpec spec;  ///< tensor scale per tensor, each tensor's own amax
  /// Globs (* any text, ? one character) of tensor names. A tensor is quantized if one of `include` and
  /// none of `exclude` matches, and it is 2-D float32, float16 or BF16 with K % 16 == 0.
  std::vector<std::string> include{"*.weight"};
  std::vector<std::string> exclude{"*embed*", "*lm_head*"};
};

struct CheckpointSummary {
  std::int64_t quantized = 0, copied = 0;  ///< tensors
  std::int64_t parameters = 0, quantized_parameters = 0;
  std::int64_t bytes = 0, quantized_bytes = 0;  ///< of tensors in the output
  double bits_per_parameter() const;
  double bits_per_quantized_parameter() const;
};

struct CheckpointProgress {
  std::int64_t bytes_done, bytes_total;  ///< of tensors in the input
  std::string_view tensor;               ///< now at work
};

/// Rewrites a .safetensors file by ModelOpt's convention, W4A16_NVFP4, group size 16. For a quantized
/// P.weight of (N, K): P.weight U8 (N, K/2), low nibble first; P.weight_scale F8_E4M3 (N, K/16), linear;
/// P.weight_scale_2 F32 scalar, a decode scale: w = element * weight_scale * weight_scale_2. Every other
/// tensor is copied bit for bit. Metadata: the input's, hf_quant_config (JSON), and nvfp4_provenance (JSON).
/// The bytes depend on input, options and library version only. Memory holds one tensor at a time.
/// Throws io::FileError; std::invalid_argument for a spec that the convention cannot hold, for new names
/// that collide with tensors of the input, and where no tensor would be quantized.
CheckpointSummary quantize_checkpoint(const std::string& in, const std::string& out, io::Overwrite,
                                      const CheckpointOptions&, const Kernels&,
                                      const std::function<void(const CheckpointProgress&)>& progress = {});

/// amax / divisor in FP32, or the dialect's own multiplier. Throws std::invalid_argument for a tensor with
/// scales per row, or none.
DecodeScale decode_scale(const BlockScaledTensor&);

}  // namespace nvfp4
