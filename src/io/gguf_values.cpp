#include <algorithm>
#include <cstring>
#include <stdexcept>

#include <nvfp4/io/error.hpp>
#include <nvfp4/io/gguf.hpp>
#include <nvfp4/kernels.hpp>

#include "text.hpp"

namespace nvfp4::io {
namespace {

constexpr std::size_t block = 32;          // elements, of Q4_0, Q4_1 and Q8_0
constexpr std::size_t piece = block * 64;  // elements that are decoded at a time

/// The 16-bit number at the front of each of codes.size() blocks of `stride` bytes.
void gather(const std::byte* bytes, std::size_t stride, std::span<std::uint32_t> codes) {
  for (std::size_t i = 0; i < codes.size(); ++i) {
    std::uint16_t code;
    std::memcpy(&code, bytes + i * stride, sizeof code);
    codes[i] = code;
  }
}

template <Format F>
void decode_numbers(const std::byte* bytes, std::span<float> out) {
  std::uint32_t codes[piece];
  gather(bytes, 2, std::span(codes).first(out.size()));
  cpu_kernels().decode(std::span(codes).first(out.size()), F, out);
}

void decode_f32(const std::byte* bytes, std::span<float> out) {
  std::memcpy(out.data(), bytes, out.size_bytes());
}

/// The FP16 numbers `at` bytes into each block.
struct BlockNumbers {
  BlockNumbers(const std::byte* bytes, std::size_t at, std::size_t stride, std::size_t count) {
    std::uint32_t codes[piece / block];
    gather(bytes + at, stride, std::span(codes).first(count));
    cpu_kernels().decode(std::span(codes).first(count), Format::fp16, std::span(values).first(count));
  }
  float values[piece / block];
};

void decode_q8_0(const std::byte* bytes, std::span<float> out) {
  constexpr std::size_t stride = 2 + block;
  const BlockNumbers d(bytes, 0, stride, out.size() / block);
  for (std::size_t b = 0; b < out.size() / block; ++b) {
    const auto* q = reinterpret_cast<const std::int8_t*>(bytes + b * stride + 2);
    for (std::size_t j = 0; j < block; ++j) out[b * block + j] = static_cast<float>(q[j]) * d.values[b];
  }
}

/// Element j in the low nibble of byte j, element j + 16 in the high one.
template <class Value>
void decode_nibbles(const std::byte* bytes, float* out, Value value) {
  for (std::size_t j = 0; j < block / 2; ++j) out[j] = value(std::to_integer<int>(bytes[j] & std::byte{15}));
  for (std::size_t j = 0; j < block / 2; ++j) out[j + block / 2] = value(std::to_integer<int>(bytes[j] >> 4));
}

void decode_q4_0(const std::byte* bytes, std::span<float> out) {
  constexpr std::size_t stride = 2 + block / 2;
  const BlockNumbers d(bytes, 0, stride, out.size() / block);
  for (std::size_t b = 0; b < out.size() / block; ++b)
    decode_nibbles(bytes + b * stride + 2, &out[b * block],
                   [d = d.values[b]](int q) { return static_cast<float>(q - 8) * d; });
}

void decode_q4_1(const std::byte* bytes, std::span<float> out) {
  constexpr std::size_t stride = 2 + 2 + block / 2;
  const BlockNumbers d(bytes, 0, stride, out.size() / block), m(bytes, 2, stride, out.size() / block);
  for (std::size_t b = 0; b < out.size() / block; ++b)
    decode_nibbles(bytes + b * stride + 4, &out[b * block],
                   [d = d.values[b], m = m.values[b]](int q) { return static_cast<float>(q) * d + m; });
}

struct Decoder {
  std::string_view type;
  void (*decode)(const std::byte* bytes, std::span<float> out);
};
constexpr Decoder decoders[] = {
    {"F32", decode_f32},
    {"F16", decode_numbers<Format::fp16>},
    {"BF16", decode_numbers<Format::bf16>},
    {"Q8_0", decode_q8_0},
    {"Q4_0", decode_q4_0},
    {"Q4_1", decode_q4_1},
};

const Decoder* find_decoder(std::string_view type) {
  const auto found = std::ranges::find(decoders, type, &Decoder::type);
  return found == std::end(decoders) ? nullptr : found;
}

const Decoder& decoder_of(const Gguf& file, const GgufTensor& tensor) {
  const Decoder* found = find_decoder(tensor.type);
  if (!found)
    throw FileError(file.file(), "tensor " + in_quotes(tensor.name), "F32, F16, BF16, Q8_0, Q4_0 or Q4_1",
                    tensor.type);
  return *found;
}

struct Extent {
  std::int64_t rows = 1, cols = 1;
};

Extent extent(const GgufTensor& tensor) {
  Extent e;
  if (tensor.shape.empty()) return e;
  e.cols = tensor.shape.back();
  for (std::size_t d = 0; d + 1 < tensor.shape.size(); ++d) e.rows *= tensor.shape[d];
  return e;
}

}  // namespace

bool has_gguf_values(std::string_view type) { return find_decoder(type) != nullptr; }

void gguf_rows(const Gguf& file, std::string_view name, std::int64_t first, std::span<float> out) {
  const GgufTensor& tensor = file.tensor(name);
  const Decoder& decoder = decoder_of(file, tensor);
  if (out.empty()) return;
  const Extent e = extent(tensor);
  const auto rows = static_cast<std::uint64_t>(e.rows), cols = static_cast<std::uint64_t>(e.cols);
  const auto begin = static_cast<std::uint64_t>(first);
  if (cols == 0 || out.size() % cols || begin > rows || out.size() / cols > rows - begin)
    throw std::invalid_argument(std::to_string(out.size()) + " numbers from row " + std::to_string(first) +
                                " on are no whole rows of " + std::to_string(rows) + " x " +
                                std::to_string(cols));
  const GgufType& type = gguf_type(tensor.type);
  const auto elements = static_cast<std::size_t>(type.elements), bytes = static_cast<std::size_t>(type.bytes);
  const Array array = file.read(name);
  const std::byte* at = array.bytes.data() + begin * cols / elements * bytes;
  for (; !out.empty(); out = out.subspan(std::min(piece, out.size()))) {
    const std::span<float> now = out.first(std::min(piece, out.size()));
    decoder.decode(at, now);
    at += now.size() / elements * bytes;
  }
}

Matrix gguf_values(const Gguf& file, std::string_view name) {
  const Extent e = extent(file.tensor(name));
  decoder_of(file, file.tensor(name));
  Matrix values(e.rows, e.cols);
  gguf_rows(file, name, 0, {values.f32(), static_cast<std::size_t>(e.rows * e.cols)});
  return values;
}

}  // namespace nvfp4::io
