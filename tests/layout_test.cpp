#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <stdexcept>

#include <nvfp4/layout.hpp>

using namespace nvfp4;

namespace {

constexpr ScaleExtent extents[] = {{1, 1}, {7, 3}, {8, 4}, {9, 5}, {127, 4}, {128, 4}, {129, 4}, {300, 11}};

std::vector<std::uint8_t> counting(std::int64_t n) {
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(n));
  std::iota(bytes.begin(), bytes.end(), std::uint8_t{1});
  return bytes;
}

}  // namespace

TEST_CASE("a scale layout is a bijection into its padded extent, and its padding is zero") {
  for (const ScaleLayout layout : scale_layouts())
    for (const ScaleExtent e : extents) {
      CAPTURE(name(layout));
      CAPTURE(e.rows);
      CAPTURE(e.cols);
      const ScaleExtent whole = padded(layout, e.rows, e.cols);
      std::set<std::int64_t> places;
      for (std::int64_t r = 0; r < e.rows; ++r)
        for (std::int64_t c = 0; c < e.cols; ++c) places.insert(offset(layout, r, c, e.cols));
      CHECK(places.size() == static_cast<std::size_t>(e.rows * e.cols));
      CHECK(*places.begin() >= 0);
      CHECK(*places.rbegin() < whole.rows * whole.cols);

      const std::vector<std::uint8_t> ones(static_cast<std::size_t>(e.rows * e.cols), 1);
      const auto laid_out = to_layout(layout, ones, e.rows, e.cols);
      CHECK(std::count(laid_out.begin(), laid_out.end(), 1) == e.rows * e.cols);
      CHECK(std::count(laid_out.begin(), laid_out.end(), 0) == whole.rows * whole.cols - e.rows * e.cols);
      const auto linear = counting(e.rows * e.cols);
      CHECK(from_layout(layout, to_layout(layout, linear, e.rows, e.cols), e.rows, e.cols) == linear);
    }
}

TEST_CASE("128x4 offsets are the documented ones") {
  // cuBLAS documentation, "1D block scaling factors layout": 32 rows apart lie 4 bytes apart, rows 16 bytes.
  CHECK(offset(ScaleLayout::tiled_128x4, 0, 0, 8) == 0);
  CHECK(offset(ScaleLayout::tiled_128x4, 0, 3, 8) == 3);
  CHECK(offset(ScaleLayout::tiled_128x4, 1, 0, 8) == 16);
  CHECK(offset(ScaleLayout::tiled_128x4, 31, 0, 8) == 496);
  CHECK(offset(ScaleLayout::tiled_128x4, 32, 0, 8) == 4);
  CHECK(offset(ScaleLayout::tiled_128x4, 127, 3, 8) == 511);
  CHECK(offset(ScaleLayout::tiled_128x4, 0, 4, 8) == 512);
  CHECK(offset(ScaleLayout::tiled_128x4, 128, 0, 8) == 1024);
  CHECK(offset(ScaleLayout::tiled_128x4, 128, 0, 5) == 1024);  // 5 columns pad to 8
}

TEST_CASE("8x4 tiles are row-major inside") {
  CHECK(offset(ScaleLayout::tiled_8x4, 1, 2, 8) == 6);
  CHECK(offset(ScaleLayout::tiled_8x4, 0, 4, 8) == 32);
  CHECK(offset(ScaleLayout::tiled_8x4, 8, 0, 8) == 64);
}

TEST_CASE("interleaved tokens: vLLM's place of a scale and FlashInfer's address of it are ours") {
  for (const std::int64_t cols : {4, 8, 16})  // heads of 64, 128 and 256
    for (std::int64_t t = 0; t < 12; ++t)
      for (std::int64_t s = 0; s < cols; ++s) {
        CAPTURE(t);
        CAPTURE(s);
        const std::int64_t token = t / 4 * 4 + s / (cols / 4), scale = s % (cols / 4) * 4 + t % 4;
        CHECK(offset(ScaleLayout::interleaved_4_tokens, t, s, cols) == token * cols + scale);
      }
  // The example that a published checker of vLLM's kernel states: (5, 7) of 16 lies at (5, 13).
  CHECK(offset(ScaleLayout::interleaved_4_tokens, 5, 7, 16) == 5 * 16 + 13);
  CHECK(padded(ScaleLayout::interleaved_4_tokens, 5, 3) == ScaleExtent{8, 3});
}

TEST_CASE("every layout has a name that finds it") {
  for (const ScaleLayout layout : scale_layouts()) CHECK(find_scale_layout(name(layout)) == layout);
  CHECK(scale_layouts().size() == 4);
  CHECK(!find_scale_layout("4x8").has_value());
}

TEST_CASE("a buffer of another size is refused") {
  CHECK_THROWS_AS(to_layout(ScaleLayout::tiled_8x4, counting(5), 2, 3), std::invalid_argument);
  CHECK_THROWS_AS(from_layout(ScaleLayout::tiled_128x4, counting(511), 2, 3), std::invalid_argument);
}

TEST_CASE("packings hold the same elements") {
  const std::vector<std::uint8_t> low_first = {0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE};
  auto codes = low_first;
  repack(codes, Packing::low_first, Packing::high_first);
  CHECK(codes == std::vector<std::uint8_t>{0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF});
  repack(codes, Packing::high_first, Packing::ggml);
  CHECK(codes == std::vector<std::uint8_t>{0x80, 0x91, 0xA2, 0xB3, 0xC4, 0xD5, 0xE6, 0xF7});
  repack(codes, Packing::ggml, Packing::low_first);
  CHECK(codes == low_first);
  std::vector<std::uint8_t> odd(12);
  CHECK_THROWS_AS(repack(odd, Packing::low_first, Packing::ggml), std::invalid_argument);
}
