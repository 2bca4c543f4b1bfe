#pragma once
#include <cstring>

#include "isa.hpp"

/// Philox4x32 on many counters, generic over F::Wide: 64-bit lanes, each with one word in its lower half. A product
/// of two words fills its lane, so its lower word stays where it is and its upper word is one shift away; what is
/// left above a word is never read. Compiled once an instruction set, as engine.hpp is.
namespace nvfp4::isa {

template <class F, int rounds>
struct Philox {
  using Wide = typename F::Wide;
  static constexpr int chains = 4;  ///< side by side, to hide the multiplier's latency
  static constexpr int at_once = chains * Wide::lanes;

  struct State {
    Wide word[4];
  };
  State start;
  Wide keys[rounds][2];

  Philox(const RandomBits& bits, std::int64_t row) {
    const auto word = [](std::uint64_t x) { return Wide(static_cast<std::uint32_t>(x)); };
    start = {Wide(0), word(static_cast<std::uint64_t>(bits.row + row)), word(bits.stream),
             word(bits.stream >> 32)};
    for (std::uint32_t r = 0; r < rounds; ++r) {
      keys[r][0] = word(bits.seed + r * std::uint64_t{0x9E3779B9});
      keys[r][1] = word((bits.seed >> 32) + r * std::uint64_t{0xBB67AE85});
    }
  }

  [[gnu::always_inline]] static void round(State& s, const Wide* key) {
    const Wide a = product(s.word[0], 0xD2511F53), b = product(s.word[2], 0xCD9E8D57);
    s = {upper(b) ^ s.word[1] ^ key[0], b, upper(a) ^ s.word[3] ^ key[1], a};
  }

  /// at_once draws.
  [[gnu::always_inline]] void draws(std::uint32_t block, std::uint32_t* words) const {
    State s[chains];
    for (int i = 0; i < chains; ++i) {
      s[i] = start;
      s[i].word[0] = Wide::counters(block + static_cast<std::uint32_t>(i * Wide::lanes));
    }
#pragma GCC unroll 10
    for (int r = 0; r < rounds; ++r)
      for (State& each : s) round(each, keys[r]);
    for (int i = 0; i < chains; ++i) Wide::store(s[i].word, words + 4 * i * Wide::lanes);
  }

  void blocks(std::uint32_t block, std::int64_t count, std::uint32_t* words) const {
    for (; count >= at_once; count -= at_once, block += at_once, words += 4 * at_once) draws(block, words);
    if (count == 0) return;
    std::uint32_t last[4 * at_once];
    draws(block, last);
    std::memcpy(words, last, static_cast<std::size_t>(count) * 16);
  }
};

/// words[4 b .. 4 b + 3] = draw(bits, row, first_block + b) for b < count; 7 or 10 rounds.
template <class F>
void philox_blocks(const RandomBits& bits, std::int64_t row, std::int64_t first_block, std::int64_t count,
                   std::uint32_t* words) {
  const auto block = static_cast<std::uint32_t>(bits.col / 16 + first_block);
  bits.rounds == 7 ? Philox<F, 7>(bits, row).blocks(block, count, words)
                   : Philox<F, 10>(bits, row).blocks(block, count, words);
}

}  // namespace nvfp4::isa
