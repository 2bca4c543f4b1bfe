#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint.hpp"

namespace nvfp4 {

/// What a document leads one to expect of a module's matrix.
enum class Expected : std::uint8_t { block_scaled, otherwise_quantized, high_precision, unknown };

/// What one document says of a checkpoint's quantization, whoever wrote it.
struct Declaration {
  std::string document;       ///< "hf_quant_config.json", "config.json"
  std::string method;         ///< "modelopt", "compressed-tensors", "auto-round", "quark", "mxfp4"
  std::string algorithm;      ///< as it names it: "NVFP4", "nvfp4-pack-quantized"
  bool block_scaled = false;  ///< it declares NVFP4 or MXFP4, at least of some modules
  std::optional<std::int64_t> group_size = {};  ///< of those
  bool input_scales = false;  ///< a calibrated scale of each such module's input is to be there
  std::string kv_cache = {};  ///< the type of a KV cache with calibrated scales; else empty

  /// The entry that excludes the module, word for word or by its own patterns; empty where none does.
  std::function<std::string(const std::string& module)> excluded_by = {};
  /// unknown wherever the document leaves a doubt.
  std::function<Expected(const std::string& module)> expected = {};
};

/// Of every document that declares a quantizer that is known here, ModelOpt's own file first.
std::vector<Declaration> declarations(const Checkpoint&);

}  // namespace nvfp4
