#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <limits>

#include <nvfp4/nvfp4.hpp>

#include "tests/made_checkpoint.hpp"

using namespace nvfp4;
using namespace made;

namespace {

constexpr float magnitudes[] = {0, .5f, 1, 1.5f, 2, 3, 4, 6};
constexpr float inf = std::numeric_limits<float>::infinity();

float element(int code) { return code & 8 ? -magnitudes[code & 7] : magnitudes[code & 7]; }

/// E4M3 with its sign; of the two NaN codes NaN.
float e4m3(int byte) {
  const int exponent = byte >> 3 & 15, mantissa = byte & 7;
  if (exponent == 15 && mantissa == 7) return std::numeric_limits<float>::quiet_NaN();
  const float value = exponent ? std::ldexp(8.f + static_cast<float>(mantissa), exponent - 10)
                               : std::ldexp(static_cast<float>(mantissa), -9);
  return byte & 0x80 ? -value : value;
}

/// Every scale byte under every code: 256 blocks, each with its codes 0 to 15, once or twice.
StoredWeight every(Format scale, std::optional<SecondScale> second) {
  StoredWeight s{
      .weight = {.name = "p.weight", .shape = {1, 256 * (scale == Format::ue4m3 ? 16 : 32)}, .scale = scale}};
  std::string codes, scales;
  for (int byte = 0; byte < 256; ++byte) {
    scales += static_cast<char>(byte);
    for (std::int64_t i = 0; i < s.weight.block() / 2; ++i)
      codes += static_cast<char>(2 * (i % 8) | (2 * (i % 8) + 1) << 4);
  }
  s.codes = scratch::bytes(codes), s.scales = scratch::bytes(scales);
  if (second) s.weight.second = second->use, s.second = std::move(second);
  return s;
}

std::uint32_t bits(float x) { return std::isnan(x) ? 0x7FC00000 : std::bit_cast<std::uint32_t>(x); }

/// value(code, scale byte) against the convention's, bit for bit.
template <class Value>
void check(const Convention& c, const StoredWeight& w, Value value) {
  CAPTURE(c.name);
  const Matrix decoded = c.decode(w, 0, cpu_kernels());
  const std::int64_t block = w.weight.block();
  int wrong = 0;
  for (std::int64_t i = 0; i < decoded.cols; ++i)
    wrong += bits(decoded.f32()[i]) != bits(value(static_cast<int>(i % 16), static_cast<int>(i / block)));
  CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("conventions: each decodes NVFP4 in its own loader's order, every code under every scale byte") {
  const float g = 0.37f, d = 1 / 0.37f;
  const StoredWeight multiplies = every(Format::ue4m3, SecondScale{ScaleUse::multiplies, {g}});
  const StoredWeight divides = every(Format::ue4m3, SecondScale{ScaleUse::divides, {d}});
  check(modelopt_convention, multiplies, [&](int q, int s) { return (element(q) + 0.f) * (e4m3(s) * g); });
  check(torchao_convention, multiplies, [&](int q, int s) { return element(q) * (g * e4m3(s)); });
  check(torchao_convention, every(Format::ue4m3, {}), [&](int q, int s) { return element(q) * e4m3(s); });
  check(compressed_tensors_convention, divides, [&](int q, int s) { return element(q) * (e4m3(s) / d); });
  check(auto_round_convention, divides, [&](int q, int s) { return element(q) * (1 / d) * e4m3(s); });
}

TEST_CASE("conventions: ggml ignores a scale's sign, takes 0x7F for zero and 0xFF for 480, and knows no -0") {
  const auto scale = [](int s) { return s == 0x7F ? 0 : s == 0xFF ? 480 : e4m3(s & 0x7F); };
  check(gguf_convention, every(Format::ue4m3, SecondScale{ScaleUse::multiplies, {0.37f}}),
        [&](int q, int s) { return (element(q) + 0.f) * scale(s) * 0.37f; });
  check(gguf_convention, every(Format::ue4m3, {}),
        [&](int q, int s) { return (element(q) + 0.f) * scale(s); });
}

TEST_CASE("conventions: MXFP4's byte 255 is infinite, but in ggml") {
  const StoredWeight w = every(Format::e8m0, {});
  const auto exp2 = [](int s) { return s == 255 ? inf : std::ldexp(1.f, s - 127); };
  for (const Convention* c :
       {&mxfp4_convention, &compressed_tensors_convention, &auto_round_convention, &modelopt_convention})
    check(*c, w, [&](int q, int s) { return element(q) * exp2(s); });
  check(gguf_convention, w, [&](int q, int s) { return (2 * element(q) + 0.f) * std::ldexp(1.f, s - 128); });
}

TEST_CASE("conventions: auto-round's reciprocal of zero is zero") {
  check(auto_round_convention, every(Format::ue4m3, SecondScale{ScaleUse::divides, {0}}),
        [&](int q, int s) { return element(q) * 0.f * e4m3(s); });
}

TEST_CASE("conventions: a stack is decoded expert by expert, and written rounded once") {
  const scratch::Folder folder;
  const std::string in = folder / "in.safetensors", out = folder / "out.safetensors";
  const StoredWeight w = example("m.w", Format::ue4m3, {2, 3, 64}, ScaleUse::multiplies);
  made::write(in, torchao_convention, {w});
  dequantize_checkpoint(in, {out}, Dtype::bf16, cpu_kernels());
  CHECK(tensors_of(out) == Names{"m.w BF16 2x3x64"});
  const io::Array values = Checkpoint(out).read("m.w");
  for (std::int64_t expert = 0; expert < 2; ++expert) {
    Matrix one =
        converted(torchao_convention.decode(w, expert, cpu_kernels()).view(), Dtype::bf16, cpu_kernels());
    CHECK(std::equal(one.bytes.begin(), one.bytes.end(),
                     values.bytes.data() + static_cast<std::size_t>(expert) * one.bytes.size()));
  }
}
