#pragma once
#include <array>
#include <bit>
#include <cstdint>

#include "accumulator.hpp"

namespace nvfp4::cpu {

/// An exact sum of up to 2^29 finite FP64 numbers that are zero or of magnitude 2^-552 to 2^510: products of two FP32
/// numbers, or of elements of up to its range, each under an E8M0 scale. Digits of 32 bits, with room for carries above.
class WideSum {
 public:
  void add(double x) {
    const auto bits = std::bit_cast<std::uint64_t>(x);
    const int field = static_cast<int>(bits >> 52 & 0x7FF);
    if (field == 0) return;
    const std::uint64_t significand = (bits & 0xFFFFFFFFFFFFF) | 0x10000000000000;
    const int place = field - 1075 - lowest;
    const auto digit = static_cast<std::size_t>(place / 32);
    const int shift = place % 32;
    const std::uint64_t low = (significand & 0xFFFFFFFF) << shift, high = (significand >> 32) << shift;
    const std::int64_t sign = bits >> 63 ? -1 : 1;
    digits_[digit] += sign * static_cast<std::int64_t>(low & 0xFFFFFFFF);
    digits_[digit + 1] += sign * static_cast<std::int64_t>((low >> 32) + (high & 0xFFFFFFFF));
    digits_[digit + 2] += sign * static_cast<std::int64_t>(high >> 32);
  }

  bool is_negative() const {
    std::array<std::int64_t, count> d = digits_;
    return carry(d) < 0;
  }

  /// The nearest FP32, as finish() has it.
  std::uint32_t to_fp32() const {
    std::array<std::int64_t, count> d = digits_;
    const bool negative = carry(d) < 0;
    if (negative) {
      for (std::int64_t& digit : d) digit = -digit;
      carry(d);
    }
    std::size_t top = count - 1;
    while (top > 2 && d[top] == 0) --top;
    if (d[top] == 0) return 0;  // below are no bits of any product
    // Of the 64 to 96 highest bits all below the first 61 become one: far below the last bit that is kept.
    const std::uint64_t high = static_cast<std::uint64_t>(d[top] << 32 | d[top - 1]);
    const int room = std::countl_zero(high) - 3;
    std::uint64_t kept =
        room >= 0 ? high << room | static_cast<std::uint64_t>(d[top - 2]) >> (32 - room) : high >> -room;
    std::uint64_t rest =
        room >= 0 ? static_cast<std::uint64_t>(d[top - 2]) << room & 0xFFFFFFFF
                  : (high & ((std::uint64_t{1} << -room) - 1)) | static_cast<std::uint64_t>(d[top - 2]);
    for (std::size_t i = 0; i + 2 < top; ++i) rest |= static_cast<std::uint64_t>(d[i]);
    kept |= rest != 0;
    const int unit = lowest + 32 * (static_cast<int>(top) - 1) - room;
    const auto sum = static_cast<std::int64_t>(kept);
    return finish(negative ? -sum : sum, unit, target(Conversion::rne_fp32));
  }

 private:
  static constexpr int lowest = -608;
  static constexpr std::size_t count = 37;

  /// Brings all digits but the last, whose sign is the sum's, into [0, 2^32).
  static std::int64_t carry(std::array<std::int64_t, count>& d) {
    for (std::size_t i = 0; i + 1 < count; ++i) {
      d[i + 1] += d[i] >> 32;
      d[i] &= 0xFFFFFFFF;
    }
    return d[count - 1];
  }

  std::array<std::int64_t, count> digits_{};
};

}  // namespace nvfp4::cpu
