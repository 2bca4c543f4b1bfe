#include <doctest/doctest.h>

#include <Random123/philox.h>
#undef philox4x32  // there a macro

#include <array>
#include <cmath>
#include <random>
#include <vector>

#include <nvfp4/kernels.hpp>
#include <nvfp4/random.hpp>

using namespace nvfp4;

/// Philox against its authors' code and cuRAND's, every layer against draw(), and the statistics that stochastic
/// rounding leans on. Seeds are fixed, so no test here can fail by chance.
namespace {

using Words = std::array<std::uint32_t, 4>;
using Key = std::array<std::uint32_t, 2>;

/// Random123's own philox4x32.
template <unsigned rounds>
Words authors_philox(const Words& counter, const Key& key) {
  const auto out =
      r123::Philox4x32_R<rounds>{}({{counter[0], counter[1], counter[2], counter[3]}}, {{key[0], key[1]}});
  return {out[0], out[1], out[2], out[3]};
}

std::vector<const Kernels*> every_layer() {
  std::vector<const Kernels*> layers{&reference_kernels()};
  for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512})
    if (const Kernels* kernels = cpu_kernels(isa))
      layers.push_back(kernels);
    else
      MESSAGE("not run: this machine has no ", name(isa));
  return layers;
}

}  // namespace

TEST_CASE("random: philox4x32 gives the known answers of Random123") {
  struct Known {
    int rounds;
    Words counter;
    Key key;
    Words answer;
  };
  const Words pi = {0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344};
  const Key pi_key = {0xA4093822, 0x299F31D0};
  const Words ones = {~0u, ~0u, ~0u, ~0u};
  const Known known[] = {
      // kat_vectors of Random123 1.14
      {7, {}, {}, {0x5F6FB709, 0x0D893F64, 0x4F121F81, 0x4F730A48}},
      {7, ones, {~0u, ~0u}, {0x5207DDC2, 0x45165E59, 0x4D8EE751, 0x8C52F662}},
      {7, pi, pi_key, {0x4DFCCABA, 0x190A87F0, 0xC47362BA, 0xB6B5242A}},
      {10, {}, {}, {0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8}},
      {10, ones, {~0u, ~0u}, {0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD}},
      {10, pi, pi_key, {0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1}},
  };
  for (const Known& k : known) CHECK(philox4x32(k.counter, k.key, k.rounds) == k.answer);
}

TEST_CASE("random: philox4x32 is Random123's on random counters and keys") {
  std::mt19937 random(1);
  const auto word = [&] { return static_cast<std::uint32_t>(random()); };
  int different = 0;
  for (int i = 0; i < 100000; ++i) {
    const Words counter = {word(), word(), word(), word()};
    const Key key = {word(), word()};
    different += philox4x32(counter, key, 7) != authors_philox<7>(counter, key);
    different += philox4x32(counter, key, 10) != authors_philox<10>(counter, key);
  }
  CHECK(different == 0);
}

TEST_CASE("random: curand_word is the word that cuRAND gives") {
  struct Known {
    std::uint64_t seed, subsequence, offset;
    std::array<std::uint32_t, 8> words;
  };
  const std::uint64_t seed = 0x123456789ABCDEF0, stream = 0xFEDCBA9876543210;
  const Known known[] = {
      // eight calls of curand(), made with curand_kernel.h of CUDA 13.0
      {seed,
       stream,
       0,
       {0x90AAFDC4, 0x2D4A0D93, 0x13F86EDC, 0x98B4EF2A,  //
        0x1D237AA0, 0x6CADF41D, 0x912FD5E6, 0x5AE0422F}},
      {seed,
       stream,
       4 * ((7ull << 32) + 0x89ABCDEF),
       {0x20BC7E1C, 0x2BF43E51, 0x4D357483, 0x99DF4A28, 0x1EF74796, 0xB6599B11, 0x753B861A, 0xE779A540}},
      {42,
       5,
       6,
       {0x5845CBEE, 0x74A6BA17, 0x3695FA92, 0xF838528A,  //
        0xF171847B, 0xB1FA02CE, 0xA2EAC918, 0x3F1CB0EC}},
      {1,
       2,
       (1ull << 34) + 3,
       {0x1E5963E7, 0x4729868F, 0x5D19B85D, 0x475977E7, 0x91005102, 0x0133782C, 0xAEC444C9, 0x61A79F02}},
  };
  for (const Known& k : known)
    for (std::uint64_t i = 0; i < 8; ++i)
      CHECK(curand_word(k.seed, k.subsequence, k.offset + i) == k.words[i]);
}

TEST_CASE("random: a draw is four cuRAND words from offset 4 * (row * 2^32 + col / 16) on") {
  const RandomBits bits{
      .seed = 0x123456789ABCDEF0, .stream = 0xFEDCBA9876543210, .row = 3, .col = 16 * 0x89ABCDE0ll};
  const Words words = draw(bits, 4, 0xF);
  CHECK(words == Words{0x20BC7E1C, 0x2BF43E51, 0x4D357483, 0x99DF4A28});  // as above
  for (std::uint64_t w = 0; w < 4; ++w)
    CHECK(words[w] == curand_word(bits.seed, bits.stream, 4 * ((7ull << 32) + 0x89ABCDEF) + w));
}

TEST_CASE("random: a shard draws what the whole tensor draws there") {
  const RandomBits whole{.seed = 5, .stream = 1ull << 40},
      shard{.seed = 5, .stream = 1ull << 40, .row = 7, .col = 48};
  for (int row = 0; row < 4; ++row)
    for (int block = 0; block < 4; ++block) CHECK(draw(shard, row, block) == draw(whole, row + 7, block + 3));
}

TEST_CASE("random: every layer's random_words are draw()'s, and end where they should") {
  const std::uint64_t wide = 0xFEDCBA9876543210;
  const RandomBits places[] = {{.seed = 1, .stream = 2},
                               {.seed = wide, .stream = ~wide, .row = 5, .col = 48},
                               {.seed = ~0ull, .stream = ~0ull, .row = 0xFFFFFFFF, .col = 16 * 0xFFFFFFF0ll}};
  for (const Kernels* kernels : every_layer())
    for (RandomBits bits : places)
      for (const int rounds : {7, 10})
        for (const std::int64_t count : {0, 1, 2, 3, 4, 5, 15, 16, 17, 31, 32, 33, 63, 64, 65, 256}) {
          CAPTURE(kernels->name);
          CAPTURE(count);
          bits.rounds = rounds;
          std::vector<std::uint32_t> words(static_cast<std::size_t>(4 * count)), expected;
          words.push_back(0xABADCAFE);
          kernels->random_words(bits, 1, 7, std::span(words).first(words.size() - 1));
          for (std::int64_t b = 0; b < count; ++b)
            for (const std::uint32_t word : draw(bits, 1, 7 + b)) expected.push_back(word);
          expected.push_back(0xABADCAFE);
          CHECK(words == expected);
        }
}

/// Statistics, each in standard deviations from what independent fair bytes give.
namespace {

constexpr double bound = 5;
constexpr int side = 64, columns = 1024;

/// The bytes of `side` rows, `columns` a row.
using Bytes = std::vector<std::uint8_t>;

Bytes bytes_of(const RandomBits& bits) {
  Bytes bytes;
  for (std::int64_t row = 0; row < side; ++row)
    for (std::int64_t block = 0; block < columns / 16; ++block)
      for (const std::uint32_t word : draw(bits, row, block))
        for (int shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<std::uint8_t>(word >> shift));
  return bytes;
}

/// A coin that is heads in 64 of 256, less its mean, in units of 1/4: variance 3/16 in units of 1.
int quarter_coin(std::uint8_t byte) { return byte < 64 ? 3 : -1; }

/// sum over t of A's coin at (i, t) times B's at (j, t): the error of one entry of dW = A B^T.
double dot_error(const Bytes& a, const Bytes& b, int i, int j) {
  int sum = 0;
  for (int t = 0; t < columns; ++t)
    sum += quarter_coin(a[static_cast<std::size_t>(i * columns + t)]) *
           quarter_coin(b[static_cast<std::size_t>(j * columns + t)]);
  return sum / (3 * std::sqrt(double{columns}));
}

struct Correlation {
  double on_diagonal, off_diagonal;  ///< sums of dot_error over i = j and over j = i + 1, normalised
};

Correlation correlation(const Bytes& a, const Bytes& b) {
  Correlation sum{};
  for (int i = 0; i < side; ++i) {
    sum.on_diagonal += dot_error(a, b, i, i);
    sum.off_diagonal += dot_error(a, b, i, (i + 1) % side);
  }
  return {sum.on_diagonal / std::sqrt(double{side}), sum.off_diagonal / std::sqrt(double{side})};
}

/// Chi-square of the 256 byte values, whose mean is 255 and variance 510.
double byte_chi_square(const Bytes& bytes) {
  std::array<double, 256> count{};
  for (const std::uint8_t byte : bytes) ++count[byte];
  const double expected = static_cast<double>(bytes.size()) / 256;
  double sum = 0;
  for (const double n : count) sum += (n - expected) * (n - expected) / expected;
  return (sum - 255) / std::sqrt(510.);
}

/// The correlation of bytes `lag` apart; 2 byte - 255 has variance 21845.
double lag_correlation(const Bytes& bytes, std::size_t lag) {
  double sum = 0;
  for (std::size_t i = lag; i < bytes.size(); ++i) sum += (2. * bytes[i - lag] - 255) * (2. * bytes[i] - 255);
  return sum / 21845 / std::sqrt(static_cast<double>(bytes.size() - lag));
}

/// The next element, the next word, the next block, the next row.
constexpr std::size_t lags[] = {1, 4, 16, columns};

double largest_lag_correlation(const Bytes& bytes) {
  double largest = 0;
  for (const std::size_t lag : lags) largest = std::max(largest, std::abs(lag_correlation(bytes, lag)));
  return largest;
}

/// What weak generators would give.
Bytes counter_bytes() {
  Bytes bytes(side * columns);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(i * 37);
  return bytes;
}

}  // namespace

TEST_CASE(
    "random: coins of two streams are independent, and one stream for two operands is caught on the "
    "diagonal") {
  for (const int rounds : {7, 10})
    for (const std::uint64_t seed : {0ull, 1ull, 0x9E3779B97F4A7C15ull}) {
      const Bytes a = bytes_of({.seed = seed, .stream = 0, .rounds = rounds});
      for (const std::uint64_t stream : {1ull, 2ull, 1ull << 32}) {
        const Correlation found =
            correlation(a, bytes_of({.seed = seed, .stream = stream, .rounds = rounds}));
        CHECK(std::abs(found.on_diagonal) < bound);
        CHECK(std::abs(found.off_diagonal) < bound);
      }
      const Correlation shared = correlation(a, a);  // TetraJet-v2's, whose operands share coins
      CHECK(shared.on_diagonal > 20 * bound);
      CHECK(std::abs(shared.off_diagonal) < bound);
    }
}

TEST_CASE("random: coins of two seeds are independent, and neighbouring rows are no shift of one another") {
  const Bytes a = bytes_of({.seed = 1}), b = bytes_of({.seed = 2}), next = bytes_of({.seed = 1, .row = 1});
  CHECK(std::abs(correlation(a, b).on_diagonal) < bound);
  CHECK(std::abs(correlation(a, next).on_diagonal) < bound);
  // Row i of `a` is row i - 1 of `next`: the statistic sees streams that overlap.
  CHECK(correlation(next, a).off_diagonal > 20 * bound);
}

TEST_CASE("random: bytes are equidistributed and neighbours uncorrelated, and weak generators are caught") {
  for (const int rounds : {7, 10})
    for (const std::uint64_t seed : {0ull, 1ull, 0x9E3779B97F4A7C15ull})
      for (const std::uint64_t stream : {0ull, 1ull}) {
        const Bytes bytes = bytes_of({.seed = seed, .stream = stream, .rounds = rounds});
        CHECK(std::abs(byte_chi_square(bytes)) < bound);
        CHECK(largest_lag_correlation(bytes) < bound);
      }
  const Bytes two_rounds = bytes_of({.seed = 1, .rounds = 2}), counter = counter_bytes();
  CHECK(byte_chi_square(two_rounds) > bound);
  CHECK(largest_lag_correlation(two_rounds) > bound);
  CHECK(byte_chi_square(counter) < -bound);  // too even
  CHECK(largest_lag_correlation(counter) > bound);
}
