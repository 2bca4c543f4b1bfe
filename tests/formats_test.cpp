#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include <nvfp4/kernels.hpp>

#include "tests/sweep.hpp"

using namespace nvfp4;
using testing::Differences;

namespace {

constexpr float inf = std::numeric_limits<float>::infinity();
const float plus_nan = std::bit_cast<float>(0x7FC00000);
const float minus_nan = std::bit_cast<float>(0xFFC00000);

float pattern(std::uint32_t bits) { return std::bit_cast<float>(bits); }
std::uint32_t bits(float x) { return std::bit_cast<std::uint32_t>(x); }
float before(float x) { return std::nextafter(x, -inf); }
float after(float x) { return std::nextafter(x, inf); }

const Kernels* const layers[] = {&reference_kernels(), &cpu_kernels()};

/// The code of x, which all layers must share.
std::uint32_t code(float x, const Encoding& e) {
  std::uint32_t codes[std::size(layers)];
  for (std::size_t i = 0; i < std::size(layers); ++i) layers[i]->encode({&x, 1}, e, {codes + i, 1});
  CAPTURE(testing::describe(e));
  CAPTURE(x);
  CHECK(codes[0] == codes[1]);
  return codes[0];
}

float value(std::uint32_t code, Format f) {
  float values[std::size(layers)];
  for (std::size_t i = 0; i < std::size(layers); ++i) layers[i]->decode({&code, 1}, f, {values + i, 1});
  CAPTURE(info(f).name);
  CAPTURE(code);
  CHECK(bits(values[0]) == bits(values[1]));
  return values[0];
}

constexpr Encoding e2m1(Rounding r = Rounding::nearest_even, Target t = Target::cuda) {
  return {Format::e2m1, r, Overflow::saturate, t};
}
constexpr Encoding special(Format f, Rounding r = Rounding::nearest_even, Target t = Target::cuda) {
  return {f, r, Overflow::special, t};
}
constexpr Encoding saturating(Format f, Rounding r = Rounding::nearest_even, Target t = Target::cuda) {
  return {f, r, Overflow::saturate, t};
}

auto encoder(const Kernels& layer, const Encoding& e) {
  return [&layer, e](std::span<const float> x, std::span<std::uint32_t> codes) { layer.encode(x, e, codes); };
}

}  // namespace

TEST_CASE("E2M1 has these sixteen values") {
  const float values[] = {0, .5, 1, 1.5, 2, 3, 4, 6};
  for (std::uint32_t c = 0; c < 8; ++c) {
    CHECK(bits(value(c, Format::e2m1)) == bits(values[c]));
    CHECK(bits(value(c | 8, Format::e2m1)) == bits(-values[c]));
    for (int r = 0; r < 6; ++r) {
      CHECK(code(values[c], e2m1(static_cast<Rounding>(r))) == c);
      CHECK(code(-values[c], e2m1(static_cast<Rounding>(r))) == (c | 8));
    }
  }
}

TEST_CASE("E2M1 midpoints and their neighbours") {
  struct Midpoint {
    float at;
    std::uint32_t below, even, above;
  };
  for (const auto [at, below, even, above] : {Midpoint{.25, 0, 0, 1},
                                              {.75, 1, 2, 2},
                                              {1.25, 2, 2, 3},
                                              {1.75, 3, 4, 4},
                                              {2.5, 4, 4, 5},
                                              {3.5, 5, 6, 6},
                                              {5, 6, 6, 7}}) {
    for (const std::uint32_t sign : {0u, 8u}) {
      const float s = sign ? -1 : 1;
      CHECK(code(s * at, e2m1()) == (even | sign));
      CHECK(code(s * before(at), e2m1()) == (below | sign));
      CHECK(code(s * after(at), e2m1()) == (above | sign));
      CHECK(code(s * at, e2m1(Rounding::ties_away)) == (above | sign));
      CHECK(code(s * before(at), e2m1(Rounding::ties_away)) == (below | sign));
      CHECK(code(s * at, e2m1(Rounding::ties_to_zero)) == (below | sign));
      CHECK(code(s * after(at), e2m1(Rounding::ties_to_zero)) == (above | sign));
      CHECK(code(s * at, e2m1(Rounding::toward_zero)) == (below | sign));
      CHECK(code(s * at, e2m1(Rounding::up)) == ((sign ? below : above) | sign));
      CHECK(code(s * at, e2m1(Rounding::down)) == ((sign ? above : below) | sign));
    }
  }
}

TEST_CASE("E2M1 saturates whatever is asked, keeps -0, and has no NaN") {
  for (const float x : {6.f, after(6), 7.f, 1e30f, std::numeric_limits<float>::max(), inf}) {
    CHECK(code(x, e2m1()) == 7);
    CHECK(code(-x, e2m1()) == 15);
    CHECK(code(x, special(Format::e2m1)) == 7);
    CHECK(code(x, special(Format::e2m1, Rounding::up)) == 7);
  }
  CHECK(code(0.f, e2m1()) == 0);
  CHECK(code(-0.f, e2m1()) == 8);
  CHECK(code(-1e-40f, e2m1()) == 8);
  CHECK(code(1e-40f, e2m1(Rounding::up)) == 1);
  CHECK(code(-1e-40f, e2m1(Rounding::down)) == 9);
  CHECK(code(-1e-40f, e2m1(Rounding::up)) == 8);
}

TEST_CASE("E2M1 NaN by target") {
  const auto of = [](float x, Target t) { return code(x, e2m1(Rounding::nearest_even, t)); };
  CHECK(of(plus_nan, Target::cuda) == 7);
  CHECK(of(minus_nan, Target::cuda) == 7);
  CHECK(of(plus_nan, Target::ml_dtypes) == 8);
  CHECK(of(minus_nan, Target::ml_dtypes) == 0);
  CHECK(of(plus_nan, Target::xla) == 8);
  CHECK(of(minus_nan, Target::xla) == 8);
  CHECK(of(plus_nan, Target::torch) == 3);
  CHECK(of(minus_nan, Target::torch) == 11);
  CHECK(of(pattern(0x7F800001), Target::torch) == 2);
  CHECK(of(pattern(0x7FA00000), Target::torch) == 2);
  CHECK(of(pattern(0x7FA00001), Target::torch) == 3);
  CHECK(of(pattern(0x7FDFFFFF), Target::torch) == 3);
  CHECK(of(pattern(0x7FE00000), Target::torch) == 4);
  CHECK(of(pattern(0xFFFFFFFF), Target::torch) == 12);
}

namespace {

/// As OCP MX 1.0 has them.
struct SixBits {
  Format format;
  std::vector<float> values;                 ///< of codes 0 to 31
  std::uint32_t torch_nan, torch_large_nan;  ///< of 0x7FC00000 and of 0x7FFFFFFF, by torchao 0.18.0
};
const SixBits six_bits[] = {
    {Format::e2m3,
     {0, .125f, .25f, .375f, .5f, .625f, .75f, .875f, 1, 1.125f, 1.25f, 1.375f, 1.5f, 1.625f, 1.75f, 1.875f,
      2, 2.25f, 2.5f, 2.75f, 3,   3.25f, 3.5f, 3.75f, 4, 4.5f,   5,     5.5f,   6,    6.5f,   7,     7.5f},
     12,
     16},
    {Format::e3m2,
     {0, .0625f, .125f, .1875f, .25f, .3125f, .375f, .4375f, .5f, .625f, .75f, .875f, 1,  1.25f, 1.5f, 1.75f,
      2, 2.5f,   3,     3.5f,   4,    5,      6,     7,      8,   10,    12,   14,    16, 20,    24,   28},
     14,
     16}};

}  // namespace

TEST_CASE("E2M3 and E3M2: every value, and both sides of every middle") {
  for (const SixBits& six : six_bits) {
    const auto rounded = [&](float x, Rounding r) { return code(x, saturating(six.format, r)); };
    for (std::uint32_t c = 0; c < 32; ++c) {
      const float v = six.values[c];
      CHECK(bits(value(c, six.format)) == bits(v));
      CHECK(bits(value(c | 32, six.format)) == bits(-v));
      for (int r = 0; r < 6; ++r) {
        CHECK(rounded(v, static_cast<Rounding>(r)) == c);
        CHECK(rounded(-v, static_cast<Rounding>(r)) == (c | 32));
      }
      if (c == 31) break;
      const float middle = (v + six.values[c + 1]) / 2;
      CHECK(rounded(middle, Rounding::nearest_even) == c + c % 2);
      CHECK(rounded(before(middle), Rounding::nearest_even) == c);
      CHECK(rounded(after(middle), Rounding::nearest_even) == c + 1);
      CHECK(rounded(middle, Rounding::ties_away) == c + 1);
      CHECK(rounded(middle, Rounding::ties_to_zero) == c);
      CHECK(rounded(-middle, Rounding::up) == (c | 32));
      CHECK(rounded(-middle, Rounding::down) == ((c + 1) | 32));
    }
  }
}

TEST_CASE("E2M3 and E3M2 saturate whatever is asked, and have no NaN") {
  for (const SixBits& six : six_bits) {
    for (const float x : {after(six.values[31]), 1e30f, inf}) {
      CHECK(code(x, saturating(six.format)) == 31);
      CHECK(code(-x, special(six.format)) == 63);
      CHECK(code(x, special(six.format, Rounding::up)) == 31);
    }
    const auto nan = [&](float x, Target t) {
      return code(x, saturating(six.format, Rounding::nearest_even, t));
    };
    CHECK(nan(plus_nan, Target::cuda) == 31);
    CHECK(nan(minus_nan, Target::cuda) == 31);
    CHECK(nan(plus_nan, Target::ml_dtypes) == 32);
    CHECK(nan(minus_nan, Target::ml_dtypes) == 0);
    CHECK(nan(plus_nan, Target::torch) == six.torch_nan);
    CHECK(nan(minus_nan, Target::torch) == (six.torch_nan | 32));
    CHECK(nan(pattern(0x7FFFFFFF), Target::torch) == six.torch_large_nan);
  }
  const auto e2m3 = [](std::uint32_t x) {
    return code(pattern(x), saturating(Format::e2m3, Rounding::nearest_even, Target::torch));
  };
  CHECK(e2m3(0x7F880000) == 8);
  CHECK(e2m3(0x7F880001) == 9);
}

TEST_CASE("E4M3: largest, smallest, overflow, NaN") {
  CHECK(value(0x7E, Format::e4m3) == 448);
  CHECK(value(0x08, Format::e4m3) == 0x1p-6f);
  CHECK(value(0x07, Format::e4m3) == 0x1.cp-7f);
  CHECK(value(0x01, Format::e4m3) == 0x1p-9f);
  CHECK(value(0x38, Format::e4m3) == 1);
  CHECK(bits(value(0x80, Format::e4m3)) == 0x80000000);
  CHECK(bits(value(0x7F, Format::e4m3)) == 0x7FC00000);
  CHECK(bits(value(0xFF, Format::e4m3)) == 0xFFC00000);

  CHECK(code(464, special(Format::e4m3)) == 0x7E);  // halfway to 480, whose code is NaN's: 448 is even
  CHECK(code(after(464), special(Format::e4m3)) == 0x7F);
  CHECK(code(-after(464), special(Format::e4m3)) == 0xFF);
  CHECK(code(464, special(Format::e4m3, Rounding::ties_away)) == 0x7F);
  CHECK(code(464, special(Format::e4m3, Rounding::ties_to_zero)) == 0x7E);
  CHECK(code(after(448), special(Format::e4m3, Rounding::up)) == 0x7F);
  CHECK(code(1e30f, special(Format::e4m3, Rounding::toward_zero)) == 0x7E);
  CHECK(code(-1e30f, special(Format::e4m3, Rounding::up)) == 0xFE);
  CHECK(code(inf, special(Format::e4m3, Rounding::toward_zero)) == 0x7F);
  CHECK(code(-inf, special(Format::e4m3, Rounding::up)) == 0xFF);
  CHECK(code(inf, saturating(Format::e4m3)) == 0x7E);
  CHECK(code(-1e30f, saturating(Format::e4m3)) == 0xFE);

  CHECK(code(0x1p-10f, special(Format::e4m3)) == 0);
  CHECK(code(after(0x1p-10f), special(Format::e4m3)) == 1);
  CHECK(code(-0x1p-10f, special(Format::e4m3)) == 0x80);
  CHECK(code(0x1.8p-9f, special(Format::e4m3)) == 2);
  CHECK(code(0x1.ep-7f, special(Format::e4m3)) == 8);  // the tie below the smallest normal
  CHECK(code(before(0x1.ep-7f), special(Format::e4m3)) == 7);

  CHECK(code(minus_nan, saturating(Format::e4m3)) == 0x7F);
  CHECK(code(minus_nan, saturating(Format::e4m3, Rounding::nearest_even, Target::torch)) == 0xFF);
  CHECK(code(minus_nan, special(Format::e4m3, Rounding::nearest_even, Target::ml_dtypes)) == 0xFF);
}

TEST_CASE("UE4M3 has no sign") {
  for (std::uint32_t c = 0; c < 0x7F; ++c) {
    CHECK(bits(value(c, Format::ue4m3)) == bits(value(c, Format::e4m3)));
    CHECK(bits(value(c | 0x80, Format::ue4m3)) == bits(value(c, Format::e4m3)));
    CHECK(code(value(c, Format::e4m3), saturating(Format::ue4m3)) == c);
  }
  CHECK(bits(value(0xFF, Format::ue4m3)) == 0x7FC00000);
  for (const float x : {-0.f, -1e-30f, -3.f, -inf}) {
    CHECK(code(x, saturating(Format::ue4m3)) == 0);
    CHECK(code(x, special(Format::ue4m3, Rounding::down)) == 0);
  }
  CHECK(code(minus_nan, saturating(Format::ue4m3)) == 0x7F);
  CHECK(code(465, saturating(Format::ue4m3)) == 0x7E);
  CHECK(code(465, special(Format::ue4m3)) == 0x7F);
}

TEST_CASE("E5M2: largest, smallest, overflow, NaN") {
  CHECK(value(0x7B, Format::e5m2) == 57344);
  CHECK(value(0x7C, Format::e5m2) == inf);
  CHECK(value(0xFC, Format::e5m2) == -inf);
  CHECK(value(0x04, Format::e5m2) == 0x1p-14f);
  CHECK(value(0x01, Format::e5m2) == 0x1p-16f);
  for (const std::uint32_t c : {0x7Du, 0x7Eu, 0x7Fu}) {
    CHECK(bits(value(c, Format::e5m2)) == 0x7FC00000);
    CHECK(bits(value(c | 0x80, Format::e5m2)) == 0xFFC00000);
  }
  CHECK(code(before(61440), special(Format::e5m2)) == 0x7B);
  CHECK(code(61440, special(Format::e5m2)) == 0x7C);
  CHECK(code(-61440, special(Format::e5m2)) == 0xFC);
  CHECK(code(61440, saturating(Format::e5m2)) == 0x7B);
  CHECK(code(inf, saturating(Format::e5m2)) == 0x7B);
  CHECK(code(0x1p-17f, special(Format::e5m2)) == 0);
  CHECK(code(after(0x1p-17f), special(Format::e5m2)) == 1);
  CHECK(code(minus_nan, special(Format::e5m2)) == 0x7F);
  CHECK(code(minus_nan, special(Format::e5m2, Rounding::nearest_even, Target::ml_dtypes)) == 0xFE);
  CHECK(code(minus_nan, special(Format::e5m2, Rounding::nearest_even, Target::torch)) == 0xFF);
}

TEST_CASE("E8M0 codes are powers of two") {
  CHECK(value(0, Format::e8m0) == 0x1p-127f);
  CHECK(value(1, Format::e8m0) == 0x1p-126f);
  CHECK(value(127, Format::e8m0) == 1);
  CHECK(value(254, Format::e8m0) == 0x1p127f);
  CHECK(bits(value(255, Format::e8m0)) == 0x7FC00000);

  CHECK(code(1, saturating(Format::e8m0, Rounding::up)) == 127);
  CHECK(code(after(1), saturating(Format::e8m0, Rounding::up)) == 128);
  CHECK(code(-after(1), saturating(Format::e8m0, Rounding::up)) == 128);
  CHECK(code(before(2), saturating(Format::e8m0, Rounding::toward_zero)) == 127);
  CHECK(code(1.5f, special(Format::e8m0)) == 128);
  CHECK(code(3, special(Format::e8m0)) == 129);  // up although 128 is even
  CHECK(code(before(3), special(Format::e8m0)) == 128);
  CHECK(code(3, special(Format::e8m0, Rounding::ties_to_zero)) == 128);
}

TEST_CASE("E8M0 at its ends") {
  const Encoding up = saturating(Format::e8m0, Rounding::up), open = special(Format::e8m0, Rounding::up);
  CHECK(code(0x1p-127f, up) == 0);
  CHECK(code(after(0x1p-127f), up) == 1);
  CHECK(code(0x1p-149f, up) == 0);
  CHECK(code(0x1p-127f, special(Format::e8m0)) == 0);
  CHECK(code(after(0x1p-127f), special(Format::e8m0)) == 1);
  CHECK(code(0x1.8p-127f, special(Format::e8m0, Rounding::ties_away)) == 1);
  CHECK(code(before(0x1.8p-127f), special(Format::e8m0, Rounding::ties_away)) == 0);
  CHECK(code(0x1.8p-127f, special(Format::e8m0, Rounding::ties_to_zero)) == 0);
  CHECK(code(before(0x1p-126f), special(Format::e8m0, Rounding::toward_zero)) == 0);
  CHECK(code(0x1p127f, up) == 254);
  CHECK(code(after(0x1p127f), up) == 254);
  CHECK(code(after(0x1p127f), open) == 255);
  CHECK(code(0x1.8p127f, special(Format::e8m0)) == 255);
  CHECK(code(std::numeric_limits<float>::max(), special(Format::e8m0, Rounding::toward_zero)) == 254);
  CHECK(code(inf, up) == 254);
  CHECK(code(inf, open) == 255);
  CHECK(code(inf, special(Format::e8m0, Rounding::toward_zero)) == 255);
}

TEST_CASE("E8M0 zero, negatives and NaN by target") {
  for (const Target t : {Target::cuda, Target::torch}) {
    CHECK(code(0.f, special(Format::e8m0, Rounding::nearest_even, t)) == 0);
    CHECK(code(-0.f, special(Format::e8m0, Rounding::nearest_even, t)) == 0);
    CHECK(code(-4.f, special(Format::e8m0, Rounding::nearest_even, t)) == 129);
  }
  for (const Target t : {Target::ml_dtypes, Target::xla})
    for (const float x : {0.f, -0.f, -4.f, -1e-45f, -inf})
      CHECK(code(x, special(Format::e8m0, Rounding::nearest_even, t)) == 255);
  CHECK(code(1e-45f, special(Format::e8m0, Rounding::nearest_even, Target::ml_dtypes)) == 0);
  for (const float x : {plus_nan, minus_nan}) CHECK(code(x, saturating(Format::e8m0, Rounding::up)) == 255);
}

TEST_CASE("BF16, FP16 and TF32 at their edges") {
  CHECK(code(pattern(0x3F808000), special(Format::bf16)) == 0x3F80);
  CHECK(code(pattern(0x3F808001), special(Format::bf16)) == 0x3F81);
  CHECK(code(pattern(0x3F818000), special(Format::bf16)) == 0x3F82);
  CHECK(code(pattern(0x00008001), special(Format::bf16)) == 1);
  CHECK(code(pattern(0x7F7F7FFF), special(Format::bf16)) == 0x7F7F);
  CHECK(code(pattern(0x7F7F8000), special(Format::bf16)) == 0x7F80);
  CHECK(code(pattern(0x7F7F8000), saturating(Format::bf16)) == 0x7F7F);
  CHECK(code(minus_nan, special(Format::bf16)) == 0x7FFF);
  CHECK(code(minus_nan, special(Format::bf16, Rounding::nearest_even, Target::ml_dtypes)) == 0xFFC0);
  CHECK(code(minus_nan, special(Format::bf16, Rounding::nearest_even, Target::torch)) == 0x7FC0);
  CHECK(bits(value(0x8001, Format::bf16)) == 0x80010000);

  CHECK(code(65504, special(Format::fp16)) == 0x7BFF);
  CHECK(code(before(65520), special(Format::fp16)) == 0x7BFF);
  CHECK(code(65520, special(Format::fp16)) == 0x7C00);
  CHECK(code(-65520, special(Format::fp16)) == 0xFC00);
  CHECK(code(65520, saturating(Format::fp16)) == 0x7BFF);
  CHECK(code(0x1p-25f, special(Format::fp16)) == 0);
  CHECK(code(after(0x1p-25f), special(Format::fp16)) == 1);
  CHECK(value(0x0001, Format::fp16) == 0x1p-24f);
  CHECK(value(0x03FF, Format::fp16) == 0x1.ff8p-15f);
  CHECK(value(0xFC00, Format::fp16) == -inf);

  CHECK(code(pattern(0x3F801000), special(Format::tf32)) == 0x3F800000);
  CHECK(code(pattern(0x3F803000), special(Format::tf32)) == 0x3F804000);
  CHECK(code(pattern(0x3F801000), special(Format::tf32, Rounding::ties_away)) == 0x3F802000);
  CHECK(code(pattern(0xFF7FFFFF), special(Format::tf32)) == 0xFF800000);
  CHECK(code(plus_nan, special(Format::tf32)) == 0x7FFFE000);
  CHECK(bits(value(0x3F803FFF, Format::tf32)) == 0x3F802000);
}

TEST_CASE("every code comes back from its value") {
  for (const FormatInfo& f : formats()) {
    const int dropped = f.format == Format::tf32 ? 13 : 0;
    for (std::uint32_t i = 0; i < 1u << (f.bits - dropped); ++i) {
      const std::uint32_t c = i << dropped;
      const float x = reference::decode(c, f.format);
      if (std::isnan(x) || (!f.has_sign && c >> 7)) continue;
      if (reference::encode(x, special(f.format)) != c) FAIL_CHECK(f.name << " code " << c);
    }
  }
}

TEST_CASE("layers decode all codes alike, and bits above the format's are ignored") {
  for (const FormatInfo& f : formats()) {
    std::vector<std::uint32_t> codes;
    const std::uint32_t stride = f.bits == 32 ? 4099 : 1;
    for (std::uint64_t c = 0; c < std::uint64_t{1} << f.bits; c += stride) codes.push_back(c);
    if (f.bits < 32)
      for (std::uint32_t c = 0; c < 16; ++c) codes.push_back(c | 0xABCDEF01u << f.bits);
    std::vector<float> expected(codes.size()), actual(codes.size());
    reference_kernels().decode(codes, f.format, expected);
    cpu_kernels().decode(codes, f.format, actual);
    std::size_t differing = 0;
    for (std::size_t i = 0; i < codes.size(); ++i) differing += bits(expected[i]) != bits(actual[i]);
    CHECK_MESSAGE(differing == 0, f.name);
  }
}

TEST_CASE("staircases ascend from zero") {
  for (const Encoding& e : testing::every_encoding()) {
    if (info(e.format).bits > 16) continue;
    const auto steps = reference::staircase(e);
    CHECK(steps.front().first == 0);
    bool ascending = true;
    for (std::size_t i = 1; i < steps.size(); ++i) ascending &= steps[i - 1].first < steps[i].first;
    CHECK_MESSAGE(ascending, testing::describe(e));
  }
}

TEST_CASE("cpu encodes as the reference at every threshold of every encoding" *
          doctest::test_suite("sweep")) {
  for (const Encoding& e : testing::every_encoding()) {
    if (info(e.format).bits > 16 && e.target != Target::cuda)
      continue;  // exhaustive_test.cpp --full has them
    const auto steps = reference::staircase(e);
    const auto values = testing::witnesses(steps, info(e.format).bits > 8 ? 31 : 1);
    const Differences d = testing::compare_at(values, steps, encoder(cpu_kernels(), e));
    CHECK_MESSAGE(d.count == 0, testing::describe(e) << ": " << testing::describe(d));
  }
}

TEST_CASE("cpu codes do not depend on the number of threads") {
  const int before_test = threads();
  std::vector<float> values(300001);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = pattern(static_cast<std::uint32_t>(i) * 14321u);
  std::vector<std::uint32_t> expected(values.size()), codes(values.size());
  reference_kernels().encode(values, e2m1(), expected);
  for (const int n : {1, 2, 7}) {
    set_threads(n);
    cpu_kernels().encode(values, e2m1(), codes);
    CHECK(codes == expected);
  }
  set_threads(before_test);
}

namespace {

struct Mutant {
  const char* error;
  Encoding truth;
  std::uint32_t (*encode)(float);
};

std::uint32_t rne(float x) { return reference::encode(x, e2m1()); }

const Mutant mutants[] = {
    {"ties away", e2m1(), [](float x) { return reference::encode(x, e2m1(Rounding::ties_away)); }},
    {"ties to zero", e2m1(), [](float x) { return reference::encode(x, e2m1(Rounding::ties_to_zero)); }},
    {"a subnormal threshold one ulp late", e2m1(), [](float x) { return x == after(.25f) ? 0 : rne(x); }},
    {"a subnormal threshold one ulp early", e2m1(), [](float x) { return x == .25f ? 1 : rne(x); }},
    {"FP32 subnormals flushed", saturating(Format::e8m0, Rounding::up),
     [](float x) {
       return reference::encode(std::fpclassify(x) == FP_SUBNORMAL ? 0 : x,
                                saturating(Format::e8m0, Rounding::up));
     }},
    {"lost saturation", saturating(Format::e4m3),
     [](float x) { return reference::encode(x, special(Format::e4m3)); }},
    {"overflow at the largest value, not at the midpoint", special(Format::e4m3),
     [](float x) {
       return std::fabs(x) > 448 ? (std::signbit(x) ? 0xFF : 0x7Fu)
                                 : reference::encode(x, special(Format::e4m3));
     }},
    {"another target's NaN", e2m1(),
     [](float x) { return reference::encode(x, e2m1(Rounding::nearest_even, Target::ml_dtypes)); }},
    {"NaN keeps its sign", saturating(Format::e4m3),
     [](float x) {
       return reference::encode(x, saturating(Format::e4m3, Rounding::nearest_even, Target::torch));
     }},
    {"-0 loses its sign", e2m1(), [](float x) { return x == 0 ? 0 : rne(x); }},
    {"sign of rounding ignored", special(Format::fp16, Rounding::up),
     [](float x) {
       return reference::encode(std::fabs(x), special(Format::fp16, Rounding::up)) |
              (std::signbit(x) ? 0x8000 : 0);
     }},
};

}  // namespace

TEST_CASE("the comparison rejects wrong encoders") {
  for (const Mutant& m : mutants) {
    const auto steps = reference::staircase(m.truth);
    const auto encode = [&](std::span<const float> x, std::span<std::uint32_t> codes) {
      std::transform(x.begin(), x.end(), codes.begin(), m.encode);
    };
    CHECK_MESSAGE(testing::compare_at(testing::witnesses(steps), steps, encode).count > 0, m.error);
  }
}

TEST_CASE("a sweep finds one wrong code among 65536 and says where") {
  const auto steps = reference::staircase(e2m1());
  const auto off_by_one = [](std::span<const float> x, std::span<std::uint32_t> codes) {
    cpu_kernels().encode(x, e2m1(), codes);
    for (std::size_t i = 0; i < x.size(); ++i) codes[i] ^= bits(x[i]) == 0x3FE0BEEF;
  };
  const Differences d = testing::sweep(steps, off_by_one, 0x3FE0, 1);
  CHECK(d.count == 1);
  CHECK(d.pattern == 0x3FE0BEEF);
  CHECK(d.expected == 4);
  CHECK(d.actual == 5);
  CHECK(testing::sweep(steps, encoder(cpu_kernels(), e2m1()), 0x3FE0, 1).count == 0);
}
