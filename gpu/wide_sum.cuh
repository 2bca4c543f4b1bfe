#pragma once
#include <cstdint>

#include "host_device.hpp"

namespace nvfp4::gpu {

/// An exact sum of up to 2^29 numbers, each up to 48 bits that lie between 2^-544 and 2^544: all products that any
/// formats and scales have. Digits of 32 bits, with room for carries above them.
class WideSum {
 public:
  NVFP4_HOST_DEVICE void add(bool negative, std::uint64_t significand, int unit) {
    const int place = unit - lowest, shift = place % 32;
    std::int64_t* digit = digits_ + place / 32;
    const std::uint64_t low = (significand & 0xFFFFFFFF) << shift, high = (significand >> 32) << shift;
    const std::int64_t sign = negative ? -1 : 1;
    digit[0] += sign * static_cast<std::int64_t>(low & 0xFFFFFFFF);
    digit[1] += sign * static_cast<std::int64_t>((low >> 32) + (high & 0xFFFFFFFF));
    digit[2] += sign * static_cast<std::int64_t>(high >> 32);
  }

  /// magnitude * 2^unit with 31 to 62 bits, the last of which says also whether anything lies below. The sum of nothing
  /// is 0, not negative.
  struct Total {
    bool negative;
    std::uint64_t magnitude;
    int unit;
  };

  NVFP4_HOST_DEVICE Total total() {
    carry();
    const bool negative = digits_[count - 1] < 0;
    if (negative) {
      for (std::int64_t& digit : digits_) digit = -digit;
      carry();
    }
    int top = count - 1;
    while (top > 0 && digits_[top] == 0) --top;
    const auto digit = [&](int i) { return i < 0 ? 0 : static_cast<std::uint64_t>(digits_[i]); };
    const std::uint64_t high = digit(top) << 32 | digit(top - 1);
    bool below = (high & 3) != 0;
    for (int i = 0; i < top - 1; ++i) below = below || digits_[i] != 0;
    return {negative, high >> 2 | below, lowest + 32 * (top - 1) + 2};
  }

 private:
  static constexpr int lowest = -544, count = 38;

  /// Brings all digits but the last, whose sign is the sum's, into [0, 2^32).
  NVFP4_HOST_DEVICE void carry() {
    for (int i = 0; i + 1 < count; ++i) {
      digits_[i + 1] += digits_[i] >> 32;
      digits_[i] &= 0xFFFFFFFF;
    }
  }

  std::int64_t digits_[count]{};
};

}  // namespace nvfp4::gpu
