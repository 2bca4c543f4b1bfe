#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nvfp4/glob.hpp>
#include <nvfp4/io/output.hpp>
#include <nvfp4/kernels.hpp>
#include <nvfp4/quantize.hpp>

/// Whole checkpoints, library nvfp4::checkpoint. An input is a .safetensors or .gguf file, an index of shards
/// (*.safetensors.index.json), or a folder of either. Memory holds a few tensors at a time, whatever the size.
namespace nvfp4 {

struct CheckpointTarget {
  std::string
      path;  ///< .safetensors or .gguf: one file; anything else: a folder, with all that the input's folder has
  io::Overwrite overwrite = io::Overwrite::no;
  bool resume = false;  ///< a folder goes on from PATH.partial, which an interrupted run left
  std::uint64_t shard_bytes = std::uint64_t{2}
                              << 30;  ///< of a folder's .safetensors files, unless one tensor is larger
};

struct CheckpointProgress {
  std::int64_t bytes_done, bytes_total;  ///< of tensors in the input
  std::string_view tensor;               ///< now at work
};
using CheckpointWatch = std::function<void(const CheckpointProgress&)>;

/// "modelopt", "compressed-tensors", ...: ways in which checkpoints hold block-scaled weights.
std::vector<std::string_view> checkpoint_formats();
/// The dialect of the format's own producer. Throws std::invalid_argument for a name that is none.
const Dialect& producer_of(std::string_view format);

struct CheckpointOptions {
  std::string format = "modelopt";
  std::optional<QuantizeSpec> spec =
      {};  ///< tensor scale per tensor, each tensor's own amax; none: the producer's
  /// Globs (* any text, ? one character) of tensor names. A tensor is quantized if one of `include` and
  /// none of `exclude` matches, it is a matrix of floating-point values, and the format has a place for its shape.
  std::vector<std::string> include{"*.weight"};
  /// Embeddings, norms, routers and heads, by the names of the Hub and of GGUF.
  std::vector<std::string> exclude{"*embed*",       "*embd*",         "*norm*",    "*router*",
                                   "*.gate.weight", "*ffn_gate_inp*", "*lm_head*", "output.weight",
                                   "*classifier*",  "*score.weight"};
  /// Globs of stacks of experts (E, N, K), by GGUF's names. One that none of `exclude` matches is quantized expert by
  /// expert, each with a second-level scale of its own. A loader that keeps (E, K, N) is not served: K comes last.
  std::vector<std::string> stacks{"*_exps.weight"};
  bool shared_scale = false;  ///< q, k and v, and gate and up, get the second-level scale of their joint amax
  /// Calibrated: the largest magnitude of each module's input. Its activations' scale is written beside the weight's.
  std::map<std::string, float> input_amax = {};
};

/// Of bytes that hold so many parameters; 0 where they hold none.
double bits_each(std::int64_t bytes, std::int64_t parameters);

struct KeptTensor {
  std::string name, reason;
};

struct CheckpointSummary {
  std::int64_t quantized = 0, copied = 0;  ///< tensors
  std::int64_t parameters = 0, quantized_parameters = 0;
  std::int64_t bytes = 0, quantized_bytes = 0;  ///< of tensors in the output
  std::vector<KeptTensor> kept = {};            ///< matrices in high precision, and why
  double bits_per_parameter() const;
  double bits_per_quantized_parameter() const;
};

/// Quantizes a checkpoint's weights by the convention `format`. Every other tensor is copied bit for bit. The bytes
/// depend on input, options and library version only. Throws io::FileError; std::invalid_argument for options that the
/// convention cannot hold, for new names that collide with tensors of the input, and where nothing would be quantized.
CheckpointSummary quantize_checkpoint(const std::string& in, const CheckpointTarget&,
                                      const CheckpointOptions&, const Kernels&, const CheckpointWatch& = {});

struct ConvertOptions {
  std::string format;                  ///< one of checkpoint_formats()
  std::vector<std::string> drop = {};  ///< globs of tensors that are left out
  bool widen =
      false;  ///< other blocks of a GGUF file become float32 where the output is none; else they are refused
};

/// Rewrites block-scaled weights from their convention, which is found, into `format`: codes and block scales are the
/// same bits in another place, a second-level scale is inverted in FP32 where the directions differ, nothing is quantized
/// again. Throws std::invalid_argument naming what `format` has no place for.
CheckpointSummary convert_checkpoint(const std::string& in, const CheckpointTarget&, const ConvertOptions&,
                                     const CheckpointWatch& = {});

/// Every block-scaled weight by the arithmetic of its convention's own loader, rounded once, to `dtype`; others are
/// copied. Throws std::invalid_argument for tensors that are part of a weight's value by rules that are not known here.
CheckpointSummary dequantize_checkpoint(const std::string& in, const CheckpointTarget&, Dtype dtype,
                                        const Kernels&, const CheckpointWatch& = {});

/// amax / divisor in FP32, or the dialect's own multiplier. Throws std::invalid_argument for a tensor with
/// scales per row, or none.
DecodeScale decode_scale(const BlockScaledTensor&);

}  // namespace nvfp4
