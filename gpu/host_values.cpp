#include "formats.hpp"
#include "host.hpp"
#include "memory.hpp"

namespace nvfp4::gpu::host {

void encode(std::span<const float> values, const Encoding& encoding, std::span<std::uint32_t> codes) {
  const DeviceArray<std::uint32_t> out(codes.size());
  const DeviceArray<float> in(values);
  gpu::encode(in.data(), static_cast<std::int64_t>(values.size()), encoding, out.data(), nullptr);
  out.copy_to(codes);
}

void encode_stochastic(std::span<const float> values, std::span<const std::uint32_t> random,
                       const StochasticEncoding& encoding, std::span<std::uint32_t> codes) {
  validate(encoding);
  const DeviceArray<std::uint32_t> out(codes.size()), bits(random);
  const DeviceArray<float> in(values);
  gpu::encode_stochastic(in.data(), bits.data(), static_cast<std::int64_t>(values.size()), encoding,
                         out.data(), nullptr);
  out.copy_to(codes);
}

void decode(std::span<const std::uint32_t> codes, Format format, std::span<float> values) {
  const DeviceArray<float> out(values.size());
  gpu::decode(DeviceArray(codes).data(), static_cast<std::int64_t>(codes.size()), format, out.data(),
              nullptr);
  out.copy_to(values);
}

void random_words(const RandomBits& bits, std::int64_t row, std::int64_t first_block,
                  std::span<std::uint32_t> words) {
  const DeviceArray<std::uint32_t> out(words.size());
  gpu::random_words(bits, row, first_block, static_cast<std::int64_t>(words.size() / 4), out.data(), nullptr);
  out.copy_to(words);
}

}  // namespace nvfp4::gpu::host
