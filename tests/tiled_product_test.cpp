#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <vector>

#include <nvfp4/nvfp4.hpp>

#include "tests/cpu_tables.hpp"

using namespace nvfp4;

/// Products in tiles choose how to compute by the block scales: every choice, and the edges between them, against the
/// reference.
namespace {

using Words = std::array<std::uint32_t, 4>;
Words words(std::int64_t i, std::uint32_t seed) {
  return philox4x32({static_cast<std::uint32_t>(i), 0, 0, 0}, {seed, 3});
}

/// Random codes under the scale bytes that `scale` makes of a row, a block and a random word.
using Scale = std::function<std::uint32_t(std::int64_t row, std::int64_t block, std::uint32_t random)>;

BlockScaledTensor tensor(std::int64_t rows, std::int64_t cols, std::uint32_t seed, const Scale& scale,
                         const Dialect& dialect = dialects::te::info, int block = 16) {
  BlockScaledTensor t{.spec = default_spec(dialect), .rows = rows, .cols = cols};
  t.spec.block = {1, block};
  t.codes.resize(static_cast<std::size_t>(rows * t.row_bytes()));
  t.scales.resize(static_cast<std::size_t>(rows * t.blocks_per_row()));
  for (std::size_t i = 0; i < t.codes.size(); ++i)
    t.codes[i] = static_cast<std::uint8_t>(words(static_cast<std::int64_t>(i), seed)[0]);
  for (std::size_t i = 0; i < t.scales.size(); ++i) {
    const auto n = static_cast<std::int64_t>(i);
    t.scales[i] =
        static_cast<std::uint8_t>(scale(n / t.blocks_per_row(), n % t.blocks_per_row(), words(n, seed)[1]));
  }
  return t;
}

/// An E4M3 scale of this exponent, -6 to 8.
std::uint32_t e4m3(int exponent, std::uint32_t mantissa) {
  return static_cast<std::uint32_t>(exponent + 7) << 3 | (mantissa & 7);
}

/// Exponents of so many successive values.
Scale spread(int least, std::uint32_t count) {
  return [=](std::int64_t, std::int64_t, std::uint32_t random) {
    return std::min(e4m3(least + static_cast<int>(random % count), random >> 8), 0x7Eu);
  };
}

void fill(BlockScaledTensor& t, std::int64_t row, std::int64_t first, std::int64_t count,
          std::uint32_t code) {
  for (std::int64_t k = first; k < first + count; ++k) {
    std::uint8_t& byte = t.codes[static_cast<std::size_t>(row * t.row_bytes() + k / 2)];
    byte = static_cast<std::uint8_t>(k % 2 ? (byte & 15) | code << 4 : (byte & 0xF0) | code);
  }
}

void check_equal(const BlockScaledTensor& a, const BlockScaledTensor& b,
                 std::string_view model = "sm100_nvfp4") {
  const Accumulation& acc = *find_accumulation(model);
  const Matrix expected = reference_kernels().multiply(a, b, acc, {});
  for (const Kernels* kernels : cpu_tables()) {
    const Matrix actual = kernels->multiply(a, b, acc, {});
    CHECK_MESSAGE(actual.bytes == expected.bytes, kernels->name);
  }
}

/// 1 x K operands of zeros, to be filled.
BlockScaledTensor zeros(std::int64_t cols, int exponent) {
  BlockScaledTensor t = tensor(1, cols, 0, [=](auto, auto, auto) { return e4m3(exponent, 0); });
  fill(t, 0, 0, cols, 0);
  return t;
}

}  // namespace

TEST_CASE("products in tiles: every spread of block scales, every shape") {
  for (std::uint32_t count = 1; count <= 15; ++count) {
    CAPTURE(count);
    const int least = 8 - static_cast<int>(count) + 1;
    const std::int64_t k = 64 * (count % 4) + 40 + count;  // ragged, odd half of the time
    check_equal(tensor(3 + count, k, count, spread(least, count)),
                tensor(30 + count, k, count + 50, spread(least, count)));
    check_equal(tensor(5, 192, count, spread(least, count)), tensor(17, 192, count + 50, spread(-6, 1)));
  }
  for (const std::int64_t k : {1, 2, 15, 16, 17, 63, 64, 65, 600, 1200})
    check_equal(tensor(5, k, 1, spread(0, 3)), tensor(37, k, 2, spread(0, 3)));
  check_equal(tensor(0, 64, 1, spread(0, 3)), tensor(3, 64, 2, spread(0, 3)));
  check_equal(tensor(3, 64, 1, spread(0, 3)), tensor(0, 64, 2, spread(0, 3)));
}

TEST_CASE("products in tiles: a spread of rows differs from that of columns") {
  for (const auto& spreads :
       {std::pair{7, 1}, {1, 8}, {4, 4}, {5, 4}, {11, 1}, {12, 2}, {2, 13}, {12, 12}, {13, 12}}) {
    CAPTURE(spreads.first);
    CAPTURE(spreads.second);
    const auto count = [](int n) { return static_cast<std::uint32_t>(n); };
    check_equal(tensor(9, 704, 5, spread(-3, count(spreads.first))),
                tensor(40, 704, 6, spread(-3, count(spreads.second))));
  }
}

TEST_CASE("products in tiles: the largest of everything under every spread of two blocks") {
  for (int low = -6; low <= 8; ++low)
    for (const std::uint32_t code : {7u, 15u}) {
      CAPTURE(low);
      CAPTURE(code);
      const Scale two = [&](std::int64_t, std::int64_t block, std::uint32_t) {
        return block % 2 ? e4m3(low, 7) - (low == 8) : 0x7Eu;
      };
      BlockScaledTensor a = tensor(4, 512, 1, two), b = tensor(32, 512, 2, two);
      for (std::int64_t i = 0; i < b.rows; ++i) fill(b, i, 0, 512, 7);
      for (std::int64_t i = 0; i < a.rows; ++i) fill(a, i, 0, 512, code), fill(a, i, 16 * i, 3, 1);
      check_equal(a, b);
    }
}

TEST_CASE("products in tiles: what alignment cuts off a group, and off one beside a large C") {
  const auto product = [](const BlockScaledTensor& a, const BlockScaledTensor& b) {
    check_equal(a, b);
    return cpu_kernels().multiply(a, b, *find_accumulation("sm100_nvfp4"), {}).f32()[0];
  };
  // Exponents: 16 of two groups that cancel, -12 of the third: of its half units of 2^-18, times 1/2, the least bit goes.
  for (const std::uint32_t code : {1u, 2u, 3u, 4u}) {  // 0.5, 1, 1.5, 2
    BlockScaledTensor a = zeros(64, 8), b = zeros(64, 8);
    fill(a, 0, 0, 1, 2), fill(a, 0, 16, 1, 10), fill(b, 0, 0, 1, 2), fill(b, 0, 16, 1, 2);
    a.scales[2] = b.scales[2] = 1;  // 2^-9
    fill(a, 0, 32, 1, code), fill(b, 0, 32, 1, 1);
    CHECK(product(a, b) == static_cast<float>(code / 2) * 0x1p-19f);
  }
  // Within a step exponents from 10 to -12, so nothing is cut of a group, but a C of 2^16 is there to cancel.
  for (const std::uint32_t code : {1u, 2u, 3u, 4u}) {
    BlockScaledTensor a = zeros(128, 5), b = zeros(128, 5);
    fill(a, 0, 0, 16, 6), fill(b, 0, 0, 16, 2), fill(a, 0, 64, 16, 14),
        fill(b, 0, 64, 16, 2);  // 4 * 1, -4 * 1
    a.scales[6] = b.scales[6] = 1;
    fill(a, 0, 96, 1, code), fill(b, 0, 96, 1, 1);
    CHECK(product(a, b) == static_cast<float>(code / 2) * 0x1p-19f);
  }
  // A C of 2^17, of which a term below 2^-18 takes nothing, and the next larger the last bit.
  for (const std::uint32_t code : {9u, 12u}) {  // -0.5, -2
    BlockScaledTensor a = zeros(128, 8), b = zeros(128, 7);
    fill(a, 0, 0, 1, 4), fill(b, 0, 0, 1, 4);
    a.scales[4] = b.scales[4] = 1;
    fill(a, 0, 64, 1, code), fill(b, 0, 64, 1, 1);
    CHECK(product(a, b) == (code == 9 ? 0x1p17f : 0x1p17f - 0x1p-7f));
  }
  // The same where the C comes from a step whose spread leaves no room for weights, half a part or more before.
  for (const std::uint32_t code : {9u, 12u}) {
    BlockScaledTensor a = zeros(640, 8), b = zeros(640, 7);
    fill(a, 0, 0, 1, 4), fill(b, 0, 0, 1, 4);
    for (BlockScaledTensor* t : {&a, &b}) t->scales[1] = t->scales[36] = 1;
    fill(a, 0, 16, 1, 2), fill(b, 0, 17, 1, 2);  // whose products are zero
    fill(a, 0, 576, 1, code), fill(b, 0, 576, 1, 1);
    CHECK(product(a, b) == (code == 9 ? 0x1p17f : 0x1p17f - 0x1p-7f));
  }
  // A C of 2^-20, and a step whose groups cancel under an exponent of 16.
  BlockScaledTensor a = zeros(128, 8), b = zeros(128, 8);
  a.scales[0] = b.scales[0] = 1;
  fill(a, 0, 0, 1, 1), fill(b, 0, 0, 1, 1);
  fill(a, 0, 64, 1, 1), fill(a, 0, 80, 1, 9), fill(b, 0, 64, 1, 1), fill(b, 0, 80, 1, 1);
  CHECK(product(a, b) == 0);
}

TEST_CASE("products in tiles: sums just beyond what a way holds") {
  // A row against itself makes the largest sum that its norm allows, here with a last bit that shows after C, the
  // same less what was cut of it, cancels; few elements make the smallest norm under the largest weights.
  const auto negated = [](BlockScaledTensor t) {
    for (std::int64_t i = 0; i < t.rows; ++i)
      for (std::int64_t n = 0; n < 32; ++n) t.codes[static_cast<std::size_t>(i * t.row_bytes() + n)] ^= 0x88;
    return t;
  };
  for (int spread = 0; spread <= 12; ++spread)
    for (std::int64_t large = 1; large <= 48; large += 5) {
      CAPTURE(spread);
      CAPTURE(large);
      const Scale two = [&](std::int64_t, std::int64_t block, std::uint32_t) {
        return e4m3(block % 4 == 3 ? -4 : -4 + spread, 7);
      };
      BlockScaledTensor a = tensor(4, 128, 1, two);
      const auto put = [&](std::int64_t count, std::uint32_t code) {
        for (std::int64_t i = 0; i < a.rows; ++i)
          for (const std::int64_t k : {0, 64}) fill(a, i, k, 48, 0), fill(a, i, k, count, code);
      };
      for (std::int64_t i = 0; i < a.rows; ++i)
        for (const std::int64_t k : {48, 112}) fill(a, i, k, 16, 0), fill(a, i, k, 1 + 2 * i, 1);
      put(large, 7);
      check_equal(negated(a), a);
      put(1, 1);
      check_equal(a, a);
      BlockScaledTensor b = a;
      for (std::uint8_t& scale : b.scales) scale = static_cast<std::uint8_t>(e4m3(-4, 7));
      b.scales[3] = static_cast<std::uint8_t>(e4m3(-5, 7));
      check_equal(a, b);
    }
}

TEST_CASE("products in tiles: C grows beyond what small groups can still add to") {
  // Steps of the largest products, then steps of least scales, so that e_C - e_g passes 27.
  const Scale falling = [](std::int64_t, std::int64_t block, std::uint32_t random) {
    return block < 64 ? 0x7Eu : e4m3(-6, random) & (random >> 8 & 0xF);
  };
  BlockScaledTensor a = tensor(6, 2048, 1, falling), b = tensor(35, 2048, 2, falling);
  for (std::int64_t i = 0; i < a.rows; ++i) fill(a, i, 0, 1024, 7);
  for (std::int64_t i = 0; i < b.rows; ++i) fill(b, i, 0, 1024, i % 3 ? 7 : 6);
  check_equal(a, b);
}

TEST_CASE("products in tiles: groups of zeros, under a scale of zero, and that cancel") {
  const Scale sparse = [](std::int64_t row, std::int64_t block, std::uint32_t random) {
    return (row + block) % 3 == 0 ? 0u
           : random % 5 == 0      ? 0x7Eu
                                  : e4m3(-6 + static_cast<int>(random % 3), random >> 8);
  };
  BlockScaledTensor a = tensor(10, 512, 1, sparse), b = tensor(33, 512, 2, sparse);
  for (std::int64_t i = 0; i < a.rows; ++i) {
    fill(a, i, 16 * (i % 8), 16, i % 2 ? 0 : 8);  // zeros of either sign under any scale
    for (std::int64_t k = 256; k < 384; ++k) fill(a, i, k, 1, k % 2 ? 2 : 10);  // +1, -1
  }
  for (std::int64_t i = 0; i < b.rows; ++i) fill(b, i, 256, 128, 2);
  check_equal(a, b);
}

TEST_CASE("products in tiles: a NaN scale is its row's alone, bit 7 is nobody's") {
  BlockScaledTensor a = tensor(9, 320, 1, spread(0, 9)), b = tensor(40, 320, 2, spread(0, 9));
  a.scales[3] = 0x7F, a.scales[20 * 8] = 0xFF, b.scales[20 * 17 + 19] = 0x7F;
  fill(a, 0, 48, 16, 0);  // even over zeros
  for (std::size_t i = 0; i < b.scales.size(); i += 3) b.scales[i] |= 0x80;
  check_equal(a, b);
}

TEST_CASE("products in tiles: E8M0 scales near 1, far from it, and NaN") {
  const auto around = [](std::uint32_t least, std::uint32_t count) {
    return [=](std::int64_t, std::int64_t, std::uint32_t random) { return least + random % count; };
  };
  const Dialect& mx = dialects::mxfp4_floor::info;
  for (const auto& range : {std::pair{127u, 1u},
                            {120u, 5u},
                            {120u, 12u},
                            {110u, 24u},
                            {77u, 91u},
                            {76u, 5u},
                            {160u, 12u},
                            {0u, 256u},
                            {0u, 3u},
                            {250u, 5u}})
    for (const int block : {32, 16}) {
      const Scale scale = around(range.first, range.second);
      CAPTURE(range.first);
      CAPTURE(range.second);
      CAPTURE(block);
      check_equal(tensor(6, 328, 1, scale, mx, block), tensor(35, 328, 2, scale, mx, block), "sm100_mxfp4");
    }
}

TEST_CASE("products in tiles: neighbours of every way, and K beyond one pass") {
  // By bands of 32 rows of each operand: spreads that sums in FP32 hold, that digits hold, and that neither does.
  const Scale bands = [](std::int64_t row, std::int64_t block, std::uint32_t random) {
    const std::uint32_t counts[] = {2, 7, 14};
    return block % 7 == 3 ? 0 : spread(-6, counts[row / 32 % 3])(row, block, random);
  };
  check_equal(tensor(69, 64 * 35 + 24, 1, bands), tensor(115, 64 * 35 + 24, 2, bands));
}

TEST_CASE("products in tiles: threads do not show") {
  const BlockScaledTensor a = tensor(150, 640, 1, spread(-6, 12)), b = tensor(1100, 640, 2, spread(0, 3));
  const int all = threads();
  for (const Kernels* kernels : cpu_tables()) {
    set_threads(1);
    const Matrix one = kernels->multiply(a, b, *find_accumulation("sm120_nvfp4"), {});
    set_threads(3);
    CHECK(kernels->multiply(a, b, *find_accumulation("sm120_nvfp4"), {}).bytes == one.bytes);
  }
  set_threads(all);
}
