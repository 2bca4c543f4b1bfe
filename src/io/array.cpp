#include <nvfp4/io/array.hpp>

#include <algorithm>
#include <bit>
#include <limits>
#include <stdexcept>

#include <nvfp4/io/error.hpp>

#include "npy.hpp"
#include "text.hpp"

namespace nvfp4::io {
namespace {

static_assert(std::endian::native == std::endian::little, "the files are little-endian and are not swapped");

/// In the order of the enumeration. A descr reads as the first type that has it; later ones only write it.
constexpr ElementInfo table[] = {
    {ElementType::boolean, "BOOL", "|b1", "bool", 8},
    {ElementType::u8, "U8", "|u1", "uint8", 8},
    {ElementType::i8, "I8", "|i1", "int8", 8},
    {ElementType::u16, "U16", "<u2", "uint16", 16},
    {ElementType::i16, "I16", "<i2", "int16", 16},
    {ElementType::u32, "U32", "<u4", "uint32", 32},
    {ElementType::i32, "I32", "<i4", "int32", 32},
    {ElementType::u64, "U64", "<u8", "uint64", 64},
    {ElementType::i64, "I64", "<i8", "int64", 64},
    {ElementType::f16, "F16", "<f2", "float16", 16},
    {ElementType::bf16, "BF16", "<u2", "bfloat16", 16},
    {ElementType::f32, "F32", "<f4", "float32", 32},
    {ElementType::f64, "F64", "<f8", "float64", 64},
    {ElementType::c64, "C64", "<c8", "complex64", 64},
    {ElementType::f8_e4m3, "F8_E4M3", "|u1", "float8_e4m3fn", 8},
    {ElementType::f8_e5m2, "F8_E5M2", "|u1", "float8_e5m2", 8},
    {ElementType::f8_e8m0, "F8_E8M0", "|u1", "float8_e8m0fnu", 8},
    {ElementType::f8_e4m3fnuz, "F8_E4M3FNUZ", "|u1", "float8_e4m3fnuz", 8},
    {ElementType::f8_e5m2fnuz, "F8_E5M2FNUZ", "|u1", "float8_e5m2fnuz", 8},
    {ElementType::f6_e2m3, "F6_E2M3", "", "float6_e2m3fn", 6},
    {ElementType::f6_e3m2, "F6_E3M2", "", "float6_e3m2fn", 6},
    {ElementType::f4, "F4", "", "float4_e2m1fn", 4},
};

const ElementInfo* find(std::string_view ElementInfo::*field, std::string_view text) {
  const auto found = std::ranges::find(table, text, field);
  return found == std::end(table) ? nullptr : found;
}

void expect(const Array& array, ElementType type, std::span<const std::int64_t> shape) {
  const auto describe = [](ElementType t, const auto& s) {
    return std::string(info(t).numpy) + " " + tuple_text(s);
  };
  if (array.info.type != type || !std::ranges::equal(array.info.shape, shape))
    array.refuse(describe(type, shape), describe(array.info.type, array.info.shape));
}

}  // namespace

const ElementInfo& info(ElementType type) { return table[static_cast<int>(type)]; }
const ElementInfo* find_npy(std::string_view descr) {
  return descr.empty() ? nullptr : find(&ElementInfo::npy, descr);
}
const ElementInfo* find_safetensors(std::string_view name) { return find(&ElementInfo::safetensors, name); }

std::uint64_t byte_size(const ArrayInfo& array) {
  constexpr std::uint64_t most = std::numeric_limits<std::int64_t>::max();
  // The dimensions are multiplied whatever the order, so that a zero among them hides no overflow.
  std::uint64_t bits = static_cast<std::uint64_t>(info(array.type).bits);
  bool empty = false;
  for (const std::int64_t d : array.shape) {
    if (d < 0) throw std::invalid_argument("dimension " + std::to_string(d) + " is negative");
    if (d == 0)
      empty = true;
    else if (bits > most / static_cast<std::uint64_t>(d))
      throw std::overflow_error("more than 2^60 bytes");
    else
      bits *= static_cast<std::uint64_t>(d);
  }
  if (empty) return 0;
  if (bits % 8) throw std::invalid_argument("the size ends inside a byte");
  return bits / 8;
}

void Array::refuse(std::string_view expected, std::string_view found) const {
  throw FileError(file, info.name.empty() ? "array" : "array " + in_quotes(info.name), expected, found);
}

std::span<const std::uint8_t> Array::u8(std::span<const std::int64_t> shape) const {
  expect(*this, ElementType::u8, shape);
  return bytes.u8();
}

std::span<const std::uint32_t> Array::u32(std::span<const std::int64_t> shape) const {
  expect(*this, ElementType::u32, shape);
  return {reinterpret_cast<const std::uint32_t*>(bytes.data()), bytes.size() / sizeof(std::uint32_t)};
}

std::span<const float> Array::f32(std::span<const std::int64_t> shape) const {
  expect(*this, ElementType::f32, shape);
  return {reinterpret_cast<const float*>(bytes.data()), bytes.size() / sizeof(float)};
}

}  // namespace nvfp4::io
