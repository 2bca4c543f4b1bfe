#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <string>

#include <nvfp4/io.hpp>
#include <nvfp4/rcp_approx.hpp>

/// rcp.approx.ftz.f32 against the measurement in tests/golden/rcp_approx.
namespace {

std::uint32_t rcp(std::uint32_t pattern) {
  return std::bit_cast<std::uint32_t>(nvfp4::rcp_approx_ftz(std::bit_cast<float>(pattern)));
}

/// How many of the 2^23 significands at this exponent differ from the measurement, which is relative to the correctly
/// rounded reciprocal: the processor's division, or `wrong` ulps beside it.
std::int64_t differing(std::uint32_t field, int wrong) {
  const auto file =
      nvfp4::io::open_arrays(std::string(NVFP4_GOLDEN_DIR) + "/rcp_approx/rcp_approx_ftz_h200.npz");
  const nvfp4::io::Array array = file->read("delta_ulp");
  REQUIRE(array.bytes.view().size() == 1u << 23);
  std::int64_t count = 0;
  for (std::uint32_t significand = 0; significand < 1u << 23; ++significand) {
    const std::uint32_t x = field << 23 | significand;
    const auto rounded = static_cast<int>(std::bit_cast<std::uint32_t>(1 / std::bit_cast<float>(x)));
    const auto delta = std::bit_cast<std::int8_t>(array.bytes.view()[significand]);
    count += static_cast<int>(rcp(x)) != rounded + delta + wrong;
  }
  return count;
}

}  // namespace

TEST_CASE("rcp_approx_ftz: every significand as measured, at several exponents") {
  for (const std::uint32_t field : {1u, 127u, 128u, 252u}) CHECK(differing(field, 0) == 0);
}

TEST_CASE("rcp_approx_ftz: the comparison notices the correctly rounded reciprocal, and one ulp") {
  CHECK(differing(127, 1) == 1 << 23);
  std::int64_t rounded = 0;
  for (std::uint32_t x = 0x3F800000; x < 0x40000000; ++x)
    rounded += rcp(x) == std::bit_cast<std::uint32_t>(1 / std::bit_cast<float>(x));
  CHECK(rounded == 7280086);
}

TEST_CASE("rcp_approx_ftz: edges") {
  CHECK(rcp(0x40C00000) == 0x3E2AAAAB);  // 6
  CHECK(rcp(0) == 0x7F800000);
  CHECK(rcp(0x80000000) == 0xFF800000);
  CHECK(rcp(0x807FFFFF) == 0xFF800000);  // a subnormal argument is flushed
  CHECK(rcp(0x7F800000) == 0);
  CHECK(rcp(0xFF800000) == 0x80000000);
  CHECK(rcp(0xFFC00001) == 0x7FFFFFFF);
  CHECK(rcp(0x7E800000) == 0x00800000);  // 2^126: the smallest normal result
  CHECK(rcp(0x7E800001) == 0);           // a subnormal result is flushed
  CHECK(rcp(0xFF000000) == 0x80000000);
}
