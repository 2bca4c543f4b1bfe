#include "computation.hpp"

#include <algorithm>

#include <nvfp4/random.hpp>

namespace nvfp4::cli {

std::vector<std::uint32_t> words(std::size_t count, std::uint64_t seed, std::uint64_t stream) {
  std::vector<std::uint32_t> made(count);
  for (std::size_t i = 0; i < count; ++i)
    made[i] = draw({.seed = seed, .stream = stream}, static_cast<std::int64_t>(i / 4), 0)[i % 4];
  return made;
}

Matrix numbers(std::int64_t rows, std::int64_t cols, std::uint64_t seed, std::uint64_t stream) {
  Matrix x(rows, cols, Dtype::bf16);
  const auto random = words(static_cast<std::size_t>(rows * cols), seed, stream);
  for (std::size_t i = 0; i < random.size(); ++i) {
    const std::uint32_t exponent = random[i] % 64 == 0 ? random[i] >> 8 & 0xFF : 121 + (random[i] >> 8) % 12;
    x.u16()[i] =
        static_cast<std::uint16_t>((random[i] >> 31 << 15) | exponent << 7 | (random[i] >> 16 & 0x7F));
  }
  return x;
}

namespace {

void hold(const Computation& c, const Kernels& kernels, Tally& tally) {
  const Bytes actual = c.bytes(kernels);
  std::int64_t differing = actual.size() == c.expected.size() ? 0 : 1;
  std::size_t first = actual.size();
  for (std::size_t i = 0; i < std::min(actual.size(), c.expected.size()); ++i)
    if (actual[i] != c.expected[i]) ++differing, first = std::min(first, i);
  tally.count(differing, [&](Json& json, std::string& text) {
    json.update({{"case", c.name}, {"byte", first}});
    text += c.name + ": byte " + std::to_string(first);
  });
}

}  // namespace

void verify(const std::string& what, std::vector<Computation> all, const std::vector<Layer>& layers,
            Verification& v) {
  parallel_for(all.size(), [&](std::size_t i) { all[i].expected = all[i].bytes(reference_kernels()); });
  for (const Layer& layer : layers) {
    Tally tally(v, what, layer);
    if (!layer.kernels) tally.not_run(all.size());
    for (std::size_t i = 0; layer.kernels && i < all.size(); ++i) hold(all[i], *layer.kernels, tally);
  }
}

}  // namespace nvfp4::cli
