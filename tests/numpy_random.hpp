#pragma once
#include <array>
#include <cstdint>

/// numpy.random.Generator(PCG64(seed)): the stream that golden files name instead of carrying it.
namespace nvfp4::testing {

/// NumPy's SeedSequence(seed) for a seed below 2^32, with its default pool of four words.
class SeedSequence {
 public:
  explicit SeedSequence(std::uint32_t seed) {
    for (std::size_t i = 0; i < pool_.size(); ++i) pool_[i] = hash(i == 0 ? seed : 0);
    for (std::size_t from = 0; from < pool_.size(); ++from)
      for (std::size_t to = 0; to < pool_.size(); ++to)
        if (from != to) pool_[to] = mix(pool_[to], hash(pool_[from]));
  }

  template <std::size_t Words>
  std::array<std::uint32_t, Words> generate() const {
    std::array<std::uint32_t, Words> words;
    std::uint32_t constant = 0x8B51F9DD;
    for (std::size_t i = 0; i < Words; ++i) {
      std::uint32_t word = pool_[i % pool_.size()] ^ constant;
      constant *= 0x58F38DED;
      word *= constant;
      words[i] = word ^ (word >> 16);
    }
    return words;
  }

 private:
  std::uint32_t hash(std::uint32_t word) {
    word ^= constant_;
    constant_ *= 0x931E8875;
    word *= constant_;
    return word ^ (word >> 16);
  }
  static std::uint32_t mix(std::uint32_t x, std::uint32_t y) {
    const std::uint32_t result = 0xCA01F9DD * x - 0x4973F715 * y;
    return result ^ (result >> 16);
  }

  std::uint32_t constant_ = 0x43B0D7E5;
  std::array<std::uint32_t, 4> pool_;
};

/// PCG XSL RR 128/64 as NumPy seeds it.
class Pcg64 {
 public:
  explicit Pcg64(std::uint32_t seed) {
    const auto words = SeedSequence(seed).generate<8>();
    const auto word64 = [&](int i) { return std::uint64_t{words[2 * i + 1]} << 32 | words[2 * i]; };
    const auto word128 = [&](int i) { return static_cast<U128>(word64(i)) << 64 | word64(i + 1); };
    increment_ = word128(2) << 1 | 1;
    step();
    state_ += word128(0);
    step();
  }

  std::uint64_t next64() {
    step();
    const auto folded = static_cast<std::uint64_t>(state_ >> 64) ^ static_cast<std::uint64_t>(state_);
    const auto turn = static_cast<unsigned>(state_ >> 122);
    return folded >> turn | folded << (-turn & 63);
  }

  /// Each 64-bit draw gives its low half first.
  std::uint32_t next32() {
    if (has_high_) return has_high_ = false, high_;
    const std::uint64_t draw = next64();
    has_high_ = true;
    high_ = static_cast<std::uint32_t>(draw >> 32);
    return static_cast<std::uint32_t>(draw);
  }

 private:
  __extension__ using U128 = unsigned __int128;
  void step() {
    constexpr U128 multiplier = static_cast<U128>(0x2360ED051FC65DA4) << 64 | 0x4385DF649FCCF645;
    state_ = state_ * multiplier + increment_;
  }

  U128 state_ = 0, increment_;
  bool has_high_ = false;
  std::uint32_t high_ = 0;
};

}  // namespace nvfp4::testing
