#include <algorithm>
#include <stdexcept>

#include <nvfp4/io/gguf.hpp>

#include "gguf_cursor.hpp"
#include "text.hpp"

namespace nvfp4::io {
namespace {

/// enum ggml_type, without those that ggml no longer reads, and the block structs of its ggml-common.h; the ids and
/// sizes of gguf-py 0.19.0, but for Q8_1: its block has two FP16 numbers there, two FP32 here in older files.
constexpr GgufType table[] = {
    {0, "F32", 1, 4, ElementType::f32},
    {1, "F16", 1, 2, ElementType::f16},
    {2, "Q4_0", 32, 2 + 16},
    {3, "Q4_1", 32, 2 + 2 + 16},
    {6, "Q5_0", 32, 2 + 4 + 16},
    {7, "Q5_1", 32, 2 + 2 + 4 + 16},
    {8, "Q8_0", 32, 2 + 32},
    {9, "Q8_1", 32, 2 + 2 + 32},
    {10, "Q2_K", 256, 16 + 64 + 2 + 2},
    {11, "Q3_K", 256, 32 + 64 + 12 + 2},
    {12, "Q4_K", 256, 2 + 2 + 12 + 128},
    {13, "Q5_K", 256, 2 + 2 + 12 + 32 + 128},
    {14, "Q6_K", 256, 128 + 64 + 16 + 2},
    {15, "Q8_K", 256, 4 + 256 + 32},
    {16, "IQ2_XXS", 256, 2 + 64},
    {17, "IQ2_XS", 256, 2 + 64 + 8},
    {18, "IQ3_XXS", 256, 2 + 64 + 32},
    {19, "IQ1_S", 256, 2 + 32 + 16},
    {20, "IQ4_NL", 32, 2 + 16},
    {21, "IQ3_S", 256, 2 + 64 + 8 + 32 + 4},
    {22, "IQ2_S", 256, 2 + 64 + 8 + 8},
    {23, "IQ4_XS", 256, 2 + 2 + 4 + 128},
    {24, "I8", 1, 1, ElementType::i8},
    {25, "I16", 1, 2, ElementType::i16},
    {26, "I32", 1, 4, ElementType::i32},
    {27, "I64", 1, 8, ElementType::i64},
    {28, "F64", 1, 8, ElementType::f64},
    {29, "IQ1_M", 256, 32 + 16 + 8},
    {30, "BF16", 1, 2, ElementType::bf16},
    {34, "TQ1_0", 256, 48 + 4 + 2},
    {35, "TQ2_0", 256, 64 + 2},
    {39, "MXFP4", 32, 1 + 16},
    {40, "NVFP4", 64, 4 + 32},
    {41, "Q1_0", 128, 2 + 16},
};

}  // namespace

std::span<const GgufType> gguf_types() { return table; }

const GgufType& gguf_type(std::string_view name) {
  const auto found = std::ranges::find(table, name, &GgufType::name);
  if (found == std::end(table)) throw std::invalid_argument("no GGUF type " + in_quotes(name));
  return *found;
}

ArrayInfo array_info(const GgufTensor& tensor) {
  const GgufType& type = gguf_type(tensor.type);
  if (tensor.shape.size() > gguf_max_rank)
    throw std::invalid_argument(std::to_string(tensor.shape.size()) + " dimensions are more than 4");
  ArrayInfo info{tensor.name, ElementType::u8, tensor.shape};
  byte_size(info);  // its bound on the elements holds for blocks of less than a byte an element, too
  if (type.plain) {
    info.type = *type.plain;
    return info;
  }
  const std::int64_t row = info.shape.empty() ? 1 : info.shape.back();
  if (row % type.elements)
    throw std::invalid_argument("rows of " + std::to_string(row) + " elements are no whole number of " +
                                std::string(type.name) + "'s blocks of " + std::to_string(type.elements));
  info.shape.back() = row / type.elements * type.bytes;
  return info;
}

}  // namespace nvfp4::io
