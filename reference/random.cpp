#include "random.hpp"

#include <array>
#include <boost/multiprecision/cpp_int.hpp>

namespace nvfp4::reference {
namespace {

using boost::multiprecision::cpp_int;
using Words = std::array<cpp_int, 4>;

const cpp_int word = cpp_int(1) << 32;

/// Salmon et al., section 3.3, with L and R swapped as in their code: the four words x of a round become
///   {mulhi(M1, x2) ^ k0 ^ x1, mullo(M1, x2), mulhi(M0, x0) ^ k1 ^ x3, mullo(M0, x0)}.
/// The key grows by the golden ratio and by sqrt(3) - 1 in each round (Weyl sequences).
Words round(const Words& x, const cpp_int& seed, int r) {
  const cpp_int m0 = x[0] * 0xD2511F53u, m1 = x[2] * 0xCD9E8D57u;
  const cpp_int k0 = (seed % word + cpp_int(r) * 0x9E3779B9u) % word;
  const cpp_int k1 = (seed / word + cpp_int(r) * 0xBB67AE85u) % word;
  return {m1 / word ^ k0 ^ x[1], m1 % word, m0 / word ^ k1 ^ x[3], m0 % word};
}

}  // namespace

void random_words(const RandomBits& bits, std::int64_t row, std::int64_t first_block,
                  std::span<std::uint32_t> words) {
  for (std::size_t i = 0; i < words.size(); i += 4) {
    const cpp_int column_block = cpp_int(bits.col) / 16 + first_block + i / 4;
    Words x = {column_block % word, (cpp_int(bits.row) + row) % word, cpp_int(bits.stream) % word,
               cpp_int(bits.stream) / word};
    for (int r = 0; r < bits.rounds; ++r) x = round(x, bits.seed, r);
    for (std::size_t w = 0; w < 4; ++w) words[i + w] = static_cast<std::uint32_t>(x[w]);
  }
}

}  // namespace nvfp4::reference
