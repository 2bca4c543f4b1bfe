#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <optional>

#include <nvfp4/io.hpp>
#include <nvfp4/kernels.hpp>

#include "tests/numpy_random.hpp"

/// Codes made by the producers themselves: tests/golden/README.md, scalar/scalar.npz.
using namespace nvfp4;

namespace {

const io::ArrayFile& scalars() {
  static const auto file = io::open_arrays(NVFP4_GOLDEN_DIR "/scalar/scalar.npz");
  return *file;
}

std::vector<std::uint8_t> bytes(const std::string& key) {
  const io::Array array = scalars().read(key);
  const auto view = array.u8(array.info.shape);
  return {view.begin(), view.end()};
}

struct Implementation {
  const char* key;
  Encoding encoding;
  std::optional<std::uint8_t> nan;  ///< where every NaN has one code that no target of ours gives
};

constexpr auto rne = Rounding::nearest_even;

const Implementation implementations[] = {
    {"e4m3fn/ml_dtypes", {Format::e4m3, rne, Overflow::special, Target::ml_dtypes}, {}},
    {"e4m3fn/xla", {Format::e4m3, rne, Overflow::special, Target::xla}, {}},
    {"e4m3fn/torch", {Format::e4m3, rne, Overflow::saturate, Target::torch}, {}},
    {"e4m3fn/gfloat_sat", {Format::e4m3, rne, Overflow::saturate, Target::torch}, 0xFF},
    {"e2m1/ml_dtypes", {Format::e2m1, rne, Overflow::special, Target::ml_dtypes}, {}},
    {"e2m1/xla", {Format::e2m1, rne, Overflow::special, Target::xla}, {}},
    {"e2m1/torchao", {Format::e2m1, rne, Overflow::special, Target::torch}, {}},
    {"e2m1/gfloat_sat", {Format::e2m1, rne, Overflow::special, Target::torch}, 0},
    {"e8m0/ml_dtypes", {Format::e8m0, rne, Overflow::special, Target::ml_dtypes}, {}},
    {"e8m0/xla", {Format::e8m0, rne, Overflow::special, Target::xla}, {}},
    {"e8m0/torch", {Format::e8m0, rne, Overflow::special, Target::torch}, {}},
};

std::vector<float> patterns(std::size_t count, const std::function<std::uint32_t(std::size_t)>& pattern) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = std::bit_cast<float>(pattern(i));
  return values;
}

const std::vector<float>& bf16_all() {
  static const auto values =
      patterns(1 << 16, [](std::size_t i) { return static_cast<std::uint32_t>(i) << 16; });
  return values;
}

const std::vector<float>& rnd() {
  static const std::vector<float> values = [] {
    const io::Array seed = scalars().read("seed");
    REQUIRE(seed.info.type == io::ElementType::i64);
    std::uint32_t low_word;  // little-endian; the seed is small
    std::memcpy(&low_word, seed.bytes.data(), sizeof low_word);
    testing::Pcg64 generator(low_word);
    return patterns(1 << 20, [&](std::size_t) { return generator.next32(); });
  }();
  return values;
}

/// The first 2^18 of `rnd`, exponent fields brought to where E4M3 and E2M1 round.
const std::vector<float>& window() {
  static const auto values = patterns(1 << 18, [](std::size_t i) {
    const auto pattern = std::bit_cast<std::uint32_t>(rnd()[i]);
    return (pattern & 0x807FFFFF) | ((pattern >> 23 & 0xFF) % 22 + 115) << 23;
  });
  return values;
}

std::vector<std::uint8_t> encode(const Kernels& layer, const std::vector<float>& values,
                                 const Implementation& impl) {
  std::vector<std::uint32_t> codes(values.size());
  layer.encode(values, impl.encoding, codes);
  std::vector<std::uint8_t> result(codes.begin(), codes.end());
  if (impl.nan)
    for (std::size_t i = 0; i < values.size(); ++i)
      if (std::isnan(values[i])) result[i] = *impl.nan;
  return result;
}

/// The digest as the file keeps it, 32 bytes, in the form of io::sha256.
std::string hex(const std::vector<std::uint8_t>& digest) {
  std::string text;
  for (const std::uint8_t b : digest) (text += "0123456789abcdef"[b >> 4]) += "0123456789abcdef"[b & 15];
  return text;
}

bool holds(const std::string& key, const std::vector<std::uint8_t>& codes) {
  const std::vector<std::uint8_t> head = bytes(key + "/head");
  return std::equal(head.begin(), head.end(), codes.begin()) &&
         io::sha256(std::as_bytes(std::span(codes))) == hex(bytes(key + "/sha256"));
}

}  // namespace

TEST_SUITE_BEGIN("golden");

TEST_CASE("scalar conversions of ml_dtypes, XLA, torch, torchao and gfloat") {
  for (const Kernels* layer : {&reference_kernels(), &cpu_kernels()})
    for (const Implementation& impl : implementations) {
      const std::string key = impl.key;
      CAPTURE(layer->name);
      CAPTURE(key);
      CHECK(encode(*layer, bf16_all(), impl) == bytes(key + "/bf16_all"));
      CHECK(holds(key + "/rnd", encode(*layer, rnd(), impl)));
      CHECK(holds(key + "/window", encode(*layer, window(), impl)));
    }
}

TEST_CASE("the scalar file has nothing that no test reads") {
  std::size_t read = 1;  // seed
  for (const Implementation& impl : implementations)
    for (const char* array : {"/bf16_all", "/rnd/head", "/rnd/sha256", "/window/head", "/window/sha256"})
      read += scalars().contains(impl.key + std::string(array));
  for (const char* format : {"e4m3fn", "e2m1", "e8m0"})
    read += scalars().contains(format + std::string("/decode"));
  CHECK(read == scalars().names().size());
}

void check_values(const std::string& key, Format format) {
  const io::Array array = scalars().read(key);
  const auto expected = array.f32(array.info.shape);
  REQUIRE(expected.size() == std::size_t{1} << info(format).bits);
  for (const Kernels* layer : {&reference_kernels(), &cpu_kernels()})
    for (std::uint32_t code = 0; code < expected.size(); ++code) {
      float value;
      layer->decode({&code, 1}, format, {&value, 1});
      const bool same = std::bit_cast<std::uint32_t>(value) == std::bit_cast<std::uint32_t>(expected[code]);
      CHECK_MESSAGE((same || (std::isnan(value) && std::isnan(expected[code]))), key << " code " << code);
    }
}

TEST_CASE("scalar values of all codes") {
  check_values("e4m3fn/decode", Format::e4m3);
  check_values("e2m1/decode", Format::e2m1);
  check_values("e8m0/decode", Format::e8m0);
}

TEST_CASE("the scalar file rejects another target, rounding or overflow policy") {
  const Implementation& ml_dtypes = implementations[0];
  const std::vector<std::uint8_t> truth = bytes("e4m3fn/ml_dtypes/bf16_all");
  for (const Encoding& wrong : {Encoding{Format::e4m3, rne, Overflow::special, Target::cuda},
                                {Format::e4m3, rne, Overflow::saturate, Target::ml_dtypes},
                                {Format::e4m3, Rounding::ties_away, Overflow::special, Target::ml_dtypes},
                                {Format::e4m3, Rounding::ties_to_zero, Overflow::special, Target::ml_dtypes}})
    CHECK(encode(reference_kernels(), bf16_all(), {ml_dtypes.key, wrong, {}}) != truth);
}

TEST_CASE("one wrong code among a million fails its digest") {
  auto codes = encode(reference_kernels(), rnd(), implementations[0]);
  CHECK(holds("e4m3fn/ml_dtypes/rnd", codes));
  codes[777777] ^= 1;
  CHECK(!holds("e4m3fn/ml_dtypes/rnd", codes));
}

TEST_SUITE_END();
