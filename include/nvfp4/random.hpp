#pragma once
#include <array>
#include <cstdint>

namespace nvfp4 {

/// Philox4x32 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011): four random
/// words of a counter and a key. 10 rounds are cuRAND's and PyTorch's; 7 are the fewest that pass BigCrush.
constexpr std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                                  std::array<std::uint32_t, 2> key, int rounds = 10) {
  for (int round = 0; round < rounds; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53} * counter[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(b),
               static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(a)};
    key = {key[0] + 0x9E3779B9, key[1] + 0xBB67AE85};
  }
  return counter;
}

/// Random bits as a pure function of (seed, stream, position), so that threads, tiles and shards never show.
/// The 16 elements of a row from a multiple of 16 on have one draw of four words:
///
///   counter = {col / 16, row, stream low, stream high}, key = {seed low, seed high}
///
/// which is cuRAND's curand_init(seed, stream, 4 * (row * 2^32 + col / 16)) followed by curand4: there an offset
/// counts words, and the counter is offset / 4. Word w serves the elements 4w to 4w + 3.
struct RandomBits {
  std::uint64_t seed = 0;
  std::uint64_t stream = 0;       ///< one for each operand of each GEMM: streams are independent
  int rounds = 10;                ///< 7 or 10
  std::int64_t row = 0, col = 0;  ///< where a shard stands in its tensor; col is a multiple of 16
  friend bool operator==(const RandomBits&, const RandomBits&) = default;
};

/// The four words of elements (row, 16 block) to (row, 16 block + 15), as counted in the shard.
constexpr std::array<std::uint32_t, 4> draw(const RandomBits& bits, std::int64_t row, std::int64_t block) {
  const auto low = [](std::uint64_t x) { return static_cast<std::uint32_t>(x); };
  return philox4x32(
      {low(static_cast<std::uint64_t>(bits.col / 16 + block)),
       low(static_cast<std::uint64_t>(bits.row + row)), low(bits.stream), low(bits.stream >> 32)},
      {low(bits.seed), low(bits.seed >> 32)}, bits.rounds);
}

/// What curand() returns first after curand_init(seed, subsequence, offset) of a curandStatePhilox4_32_10_t: there
/// an offset counts words, and the counter is {offset / 4, subsequence}, each in two words, lower first.
///
/// PyTorch's CUDA generator holds (seed, offset), the two int64 of torch.cuda.get_rng_state(). A kernel's thread i
/// calls curand_init(seed, i, offset); each launch then moves the offset on by its words a thread, rounded up to a
/// multiple of 4. Transformer Engine takes the same two numbers but counts draws of four words: te_random.hpp.
constexpr std::uint32_t curand_word(std::uint64_t seed, std::uint64_t subsequence, std::uint64_t offset) {
  const auto low = [](std::uint64_t x) { return static_cast<std::uint32_t>(x); };
  return philox4x32({low(offset / 4), low(offset / 4 >> 32), low(subsequence), low(subsequence >> 32)},
                    {low(seed), low(seed >> 32)})[offset % 4];
}

}  // namespace nvfp4
