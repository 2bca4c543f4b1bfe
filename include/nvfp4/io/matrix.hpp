#pragma once
#include <optional>
#include <string>

#include <nvfp4/io/array.hpp>
#include <nvfp4/tensor.hpp>

namespace nvfp4::io {

/// Which array of a file is the matrix, and how it is to be read.
struct MatrixSelection {
  std::string array = {};   ///< of an .npz; may be empty where there is only one
  std::string tensor = {};  ///< of a .safetensors or .gguf; may be empty where there is only one
  std::optional<Dtype> input_dtype = {};  ///< bf16: uint16 elements are BF16 bits
};

/// A matrix in its file, not copied where the file has it row-major and aligned.
struct MatrixFile {
  Bytes file;   ///< all of it, for its sha256
  Array array;  ///< keeps view's memory
  MatrixView view;
};

/// float32, float16, BF16; rank above 2 flattens the leading dimensions. Throws FileError for anything
/// else: float64 (with a hint), rank below 2, a dimension of 0, a selection that the container lacks.
MatrixFile open_matrix(const std::string& path, const MatrixSelection& = {});
Matrix load_matrix(const std::string& path, const MatrixSelection& = {});

/// The same rules for an array already read; shares its memory.
MatrixView as_matrix(const Array&, std::optional<Dtype> input_dtype = std::nullopt);

/// .npy (also "-"), .npz or .safetensors by the ending of `path`; in the last two it is named "dequant".
/// BF16 is uint16 bits, in safetensors BF16.
void write_matrix(const std::string& path, MatrixView, Overwrite);
/// The same with the shape (experts, rows / experts, cols).
void write_stack(const std::string& path, MatrixView, std::int64_t experts, Overwrite);

}  // namespace nvfp4::io
