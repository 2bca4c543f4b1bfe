#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <nvfp4/io/array.hpp>
#include <nvfp4/layout.hpp>
#include <nvfp4/tensor.hpp>
#include <nvfp4/version.hpp>

namespace nvfp4::io {

using Option = std::variant<bool, std::int64_t, double, std::string>;

/// With the arrays' names, all that fixes a file's bytes and nothing that does not.
struct Provenance {
  std::string library_version = NVFP4_VERSION;
  std::uint64_t seed = 0;
  std::string input_sha256;  ///< of the input file; empty where there was none
  friend bool operator==(const Provenance&, const Provenance&) = default;
};

/// A quantized tensor as it lies in a file: arrays packed, scales, global, manifest, and where they apply
/// scales_swizzled, col_packed, col_scales, col_global. The manifest follows from this record.
struct QuantizedFile {
  BlockScaledTensor rows;
  std::optional<BlockScaledTensor> columns;  ///< of the transpose, by the same spec
  ScaleLayout layout = ScaleLayout::linear;  ///< another one: scales_swizzled (of the rows) is there too
  std::map<std::string, Option> options;     ///< beyond those in rows.spec, such as "transpose"
  Provenance provenance;
};

/// A stack of experts as it lies in a file: the same arrays with the expert as the first dimension, `global` (E,)
/// or (E, M). The manifest's shape is (E, M, K), and its option "experts" E.
struct QuantizedStack {
  std::vector<BlockScaledTensor> experts;    ///< one or more, of one spec and shape
  ScaleLayout layout = ScaleLayout::linear;  ///< another one: scales_swizzled, each expert padded by itself
  std::map<std::string, Option> options;
  Provenance provenance;
};

/// The dimensions of array "global": (1,), (rows,), or (rows, parts) where a scale is one part's of a row.
std::vector<std::int64_t> global_shape(const BlockScaledTensor&);

/// The manifest's JSON text, one line, keys sorted.
std::string manifest_json(const QuantizedFile&);
std::string manifest_json(const QuantizedStack&);

/// .npz (also "-") or .safetensors by the ending of `path`.
void write_quantized(const std::string& path, const QuantizedFile&, Overwrite);
void write_quantized(const std::string& path, const QuantizedStack&, Overwrite);

/// Arrays are named prefix + "packed" and so on. Throws FileError where arrays, manifest and the dialect
/// (which this library must know, in the same version) contradict one another.
QuantizedFile read_quantized(const std::string& path);
QuantizedFile read_quantized(const ArrayFile&, std::string_view prefix = "");

/// Which of the two a file holds; each reader refuses the other's files.
bool holds_stack(const ArrayFile&);
QuantizedStack read_stack(const ArrayFile&);

/// Without a manifest, as in golden files: prefix is "CASE/" or "CASE/col_"; spec and unpadded shape come
/// from the caller. Throws FileError where the arrays do not fit them.
BlockScaledTensor read_tensor(const ArrayFile&, std::string_view prefix, const QuantizeSpec&,
                              std::int64_t rows, std::int64_t cols);

}  // namespace nvfp4::io
