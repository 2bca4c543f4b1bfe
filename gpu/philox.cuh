#pragma once
#include <nvfp4/stochastic.hpp>

namespace nvfp4::gpu {

/// The random words of an output's blocks, by draw() of random.hpp or the caller's, as a kernel takes them: round keys
/// stand ready in constant memory.
struct Draws {
  std::uint32_t key[10][2];
  std::uint32_t stream[2], row, block;  ///< of the first element
  bool ten;                             ///< rounds, else seven
  const std::uint32_t* words;           ///< the caller's, or null
  std::int64_t words_per_row;
  std::uint32_t order;  ///< bytes of a word, by __byte_perm, as ByteMap::hw has them
  SrRule rule;
};

inline Draws draws(const Stochastic& s, std::int64_t cols) {
  Draws d{.key = {},
          .stream = {static_cast<std::uint32_t>(s.random.stream),
                     static_cast<std::uint32_t>(s.random.stream >> 32)},
          .row = static_cast<std::uint32_t>(s.random.row),
          .block = static_cast<std::uint32_t>(s.random.col / 16),
          .ten = s.random.rounds == 10,
          .words = s.from_caller ? s.words.data() : nullptr,
          .words_per_row = (cols + 15) / 16 * 4,
          .order = s.map == ByteMap::hw ? 0x3210u : 0x3120u,
          .rule = s.rule};
  for (std::uint32_t round = 0; round < 10; ++round) {
    d.key[round][0] = static_cast<std::uint32_t>(s.random.seed) + round * 0x9E3779B9;
    d.key[round][1] = static_cast<std::uint32_t>(s.random.seed >> 32) + round * 0xBB67AE85;
  }
  return d;
}

__device__ inline void philox_round(uint4& c, const std::uint32_t (&key)[2]) {
  const std::uint64_t a = std::uint64_t{0xD2511F53} * c.x, b = std::uint64_t{0xCD9E8D57} * c.z;
  c = make_uint4(static_cast<std::uint32_t>(b >> 32) ^ c.y ^ key[0], static_cast<std::uint32_t>(b),
                 static_cast<std::uint32_t>(a >> 32) ^ c.w ^ key[1], static_cast<std::uint32_t>(a));
}

/// The four words of a block, byte by byte as cvt.rs takes them.
__device__ inline uint4 random_words(const Draws& d, std::uint32_t row, std::uint32_t block) {
  uint4 c;
  if (d.words) {
    const std::uint32_t* w = d.words + row * d.words_per_row + 4 * std::int64_t{block};
    c = make_uint4(w[0], w[1], w[2], w[3]);
  } else {
    c = make_uint4(d.block + block, d.row + row, d.stream[0], d.stream[1]);
#pragma unroll
    for (int round = 0; round < 7; ++round) philox_round(c, d.key[round]);
    if (d.ten)
#pragma unroll
      for (int round = 7; round < 10; ++round) philox_round(c, d.key[round]);
  }
  return make_uint4(__byte_perm(c.x, 0, d.order), __byte_perm(c.y, 0, d.order), __byte_perm(c.z, 0, d.order),
                    __byte_perm(c.w, 0, d.order));
}

}  // namespace nvfp4::gpu
