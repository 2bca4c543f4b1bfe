#include <nvfp4/io/matrix.hpp>

#include <cstring>

#include <nvfp4/io/error.hpp>

#include "text.hpp"

namespace nvfp4::io {
namespace {

std::string sole_name(const ArrayFile& file, std::string_view kind) {
  const std::vector<std::string> names = file.names();
  if (names.size() == 1) return names[0];
  throw FileError(file.file(), "file", "the name of the " + std::string(kind) + " to read",
                  "none, and " + std::to_string(names.size()) + " to choose from");
}

void refuse_selection(const ArrayFile& file, std::string_view kind, const std::string& name) {
  if (name.empty()) return;
  const bool tensor = kind == "tensor";
  throw FileError(file.file(), std::string(kind) + " " + in_quotes(name),
                  tensor ? "a .safetensors or .gguf file" : "an .npz file",
                  "." + std::string(file.container()));
}

std::string selected_name(const ArrayFile& file, const MatrixSelection& selection) {
  const std::string_view container = file.container();
  if (container != "npz") refuse_selection(file, "array", selection.array);
  if (container != "safetensors" && container != "gguf") refuse_selection(file, "tensor", selection.tensor);
  if (container == "npy") return "";
  const std::string& name = container == "npz" ? selection.array : selection.tensor;
  return name.empty() ? sole_name(file, container == "npz" ? "array" : "tensor") : name;
}

/// What the elements are by themselves; none for those that no matrix is made of.
std::optional<Dtype> natural_dtype(ElementType type) {
  switch (type) {
    case ElementType::f32: return Dtype::fp32;
    case ElementType::f16: return Dtype::fp16;
    case ElementType::bf16: return Dtype::bf16;
    default: return std::nullopt;
  }
}

Dtype dtype_of(const Array& array, std::optional<Dtype> wanted) {
  const ElementType type = array.info.type;
  if (type == ElementType::u16 && wanted == Dtype::bf16) return Dtype::bf16;
  const std::optional<Dtype> dtype = natural_dtype(type);
  const std::string found(info(type).numpy);
  if (wanted && dtype != wanted)
    array.refuse(std::string(name(*wanted)) + " elements, as the input dtype asks", found);
  if (type == ElementType::f64)
    array.refuse("float32, float16 or BF16", "float64: round it once, with astype(float32)");
  if (type == ElementType::u16) array.refuse("float32, float16, or input dtype bf16 for BF16 bits", "uint16");
  if (!dtype) array.refuse("float32, float16 or BF16", found);
  return *dtype;
}

ElementType element_type(Dtype dtype) {
  switch (dtype) {
    case Dtype::fp32: return ElementType::f32;
    case Dtype::fp16: return ElementType::f16;
    case Dtype::bf16: return ElementType::bf16;
  }
  return ElementType::f32;
}

void write(const std::string& path, MatrixView matrix, std::vector<std::int64_t> shape, Overwrite overwrite) {
  const std::size_t size = static_cast<std::size_t>(matrix.rows * matrix.cols) * size_of(matrix.dtype);
  const ArrayView array{{"dequant", element_type(matrix.dtype), std::move(shape)},
                        {static_cast<const std::byte*>(matrix.data), size}};
  if (path == "-" || path.ends_with(".npy")) return write_npy(path, array, overwrite);
  if (!path.ends_with(".npz") && !path.ends_with(".safetensors"))
    throw FileError(path, "name", "an ending .npy, .npz or .safetensors", "another");
  write_arrays(path, {&array, 1}, overwrite);
}

}  // namespace

MatrixView as_matrix(const Array& array, std::optional<Dtype> input_dtype) {
  const auto& shape = array.info.shape;
  if (shape.size() < 2) array.refuse("2 or more dimensions", "shape " + tuple_text(shape));
  MatrixView view{array.bytes.data(), 1, shape.back(), dtype_of(array, input_dtype)};
  for (std::size_t d = 0; d + 1 < shape.size(); ++d) view.rows *= shape[d];
  if (array.bytes.size() == 0) array.refuse("at least one row and one column", "shape " + tuple_text(shape));
  return view;
}

MatrixFile open_matrix(const std::string& path, const MatrixSelection& selection) {
  MatrixFile matrix{read_bytes(path), {}, {}};
  const auto file = open_arrays(matrix.file, path == "-" ? "stdin" : path);
  matrix.array = file->read(selected_name(*file, selection));
  matrix.view = as_matrix(matrix.array, selection.input_dtype);
  return matrix;
}

Matrix load_matrix(const std::string& path, const MatrixSelection& selection) {
  const MatrixFile file = open_matrix(path, selection);
  Matrix matrix(file.view.rows, file.view.cols, file.view.dtype);
  std::memcpy(matrix.bytes.data(), file.view.data, matrix.bytes.size());
  return matrix;
}

void write_matrix(const std::string& path, MatrixView matrix, Overwrite overwrite) {
  write(path, matrix, {matrix.rows, matrix.cols}, overwrite);
}

void write_stack(const std::string& path, MatrixView matrix, std::int64_t experts, Overwrite overwrite) {
  write(path, matrix, {experts, matrix.rows / experts, matrix.cols}, overwrite);
}

}  // namespace nvfp4::io
